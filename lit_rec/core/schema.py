"""Names that more than one room uses, each written once: table columns, saved files, splits."""

from enum import StrEnum

# Columns of the validated tables (those of Kaggle's Instacart files).
USER_ID = "user_id"
ORDER_ID = "order_id"
ORDER_NUMBER = "order_number"
ORDER_DOW = "order_dow"
ORDER_HOUR = "order_hour_of_day"
DAYS_SINCE_PRIOR = "days_since_prior_order"
EVAL_SET = "eval_set"
PRODUCT_ID = "product_id"
CART_POSITION = "add_to_cart_order"
REORDERED = "reordered"
PRODUCT_NAME = "product_name"
AISLE = "aisle"
DEPARTMENT = "department"

# Values of EVAL_SET.
PRIOR = "prior"  # an order of the past
TARGET = "train"  # a user's last order whose products are known: what is to be predicted
UNLABELLED = "test"  # a user's last order whose products are not known

# Columns of the prepared datasets.
ANCHOR = "anchor"
POSITIVE = "positive"
QUERY_ID = "query_id"
SPLIT = "split"
HISTORY_PRODUCT_IDS = "history_product_ids"
HISTORY_ORDERS_AGO = "history_orders_ago"
HISTORY_DAYS_AGO = "history_days_ago"
HISTORY_CART_POSITIONS = "history_cart_positions"
HISTORY_DOWS = "history_order_dows"
HISTORY_HOURS = "history_order_hours"
NEGATIVE = "negative"
WEIGHT = "weight"
REQUEST_ID = "request_id"

# Files of a processed folder.
TRAIN_DATASET = "train_dataset"
EVAL_DATASET = "eval_dataset"
EVAL_QUERIES = "eval_queries.json"
EVAL_CORPUS = "eval_corpus.json"
EVAL_RELEVANT_DOCS = "eval_relevant_docs.json"
EVAL_HISTORY = "eval_history"
TRAIN_HISTORY = "train_history"
PARAMS = "data_prep_params.json"  # written last: a folder that has it is finished
TOKEN_CACHE = ".tokens"
INDEX_CACHE = ".embedding_index"

# Files of a folder of feedback pairs, beside TRAIN_DATASET.
NEGATIVES_DATASET = "negatives_dataset"
FEEDBACK_PARAMS = "feedback_params.json"  # written last

# Files of a model folder, beside those that SentenceTransformer writes.
MODEL_RECORD = "lit_rec.json"
MODEL_CATALOGUE = "catalogue.json"
RANKER = "ranker.json"
RANKER_WEIGHTS = "ranker.safetensors"
ONNX = "onnx"  # a folder
ONNX_GRAPH = "model.onnx"
ONNX_INT8_GRAPH = "model_int8.onnx"

# What package makes for BentoML.
BENTO_NAME = "lit_rec"  # of the BentoML model and of the bento
BENTO_MODEL_VARIABLE = "LIT_REC_MODEL"  # environment: which BentoML model; the newest without it
BENTO_FILE = "bentofile.yaml"


class Split(StrEnum):
    """The side a user is on. Chosen per user, so that no user is on two sides."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"


class Backend(StrEnum):
    """What computes a model's embeddings."""

    TORCH = "torch"
    ONNX = "onnx"
    ONNX_INT8 = "onnx_int8"
