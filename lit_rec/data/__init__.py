"""Raw orders to tables, histories, contexts, pairs, and the LightningDataModule that streams them.

May import core.
"""
