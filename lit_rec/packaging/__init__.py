"""A model folder and a catalogue to a bundle, an ONNX graph, a bento.

May import inference, ranking, data, artifacts, core.
"""
