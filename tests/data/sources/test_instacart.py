"""Kaggle's six files: what is read, and how every kind of damage is told."""

import gzip
import io
import re
import shutil
import tarfile
import zipfile
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from lit_rec.core import schema
from lit_rec.core.errors import InputError
from lit_rec.data.sources import checks, instacart
from lit_rec.data.tables import ORDER_LINES_SCHEMA, ORDERS_SCHEMA, PRODUCTS_SCHEMA, Tables

OUTER_ZIP = "instacart-market-basket-analysis.zip"
SAMPLE = Path(__file__).parents[4] / "shared" / "data" / "instacart-sample"
KAGGLE = {
    "aisles": "aisle_id,aisle\n1,milk\n2,bakery desserts\n",
    "departments": "department_id,department\n1,dairy eggs\n2,bakery\n",
    "products": (
        "product_id,product_name,aisle_id,department_id\n"
        "11,Organic Milk,1,1\n"
        '10,"6\\"" Organic Carrot Cake",2,2\n'
        '12,"Oat  Milk,\n  Plain ",1,1\n'
        "13,Bread,2,2\n"
    ),
    "orders": (
        "order_id,user_id,eval_set,order_number,order_dow,order_hour_of_day,days_since_prior_order\n"
        "103,2,prior,1,6,23,\n"
        "101,1,prior,1,0,08,\n"
        "102,1,train,2,3,8,10.0\n"
        "104,2,test,2,1,0,30.0\n"
    ),
    "order_products__prior": ("order_id,product_id,add_to_cart_order,reordered\n103,13,1,0\n101,11,2,0\n101,10,1,0\n"),
    "order_products__train": "order_id,product_id,add_to_cart_order,reordered\n102,11,1,1\n102,12,2,0\n",
}


def write(folder: Path, **changed: str) -> Path:
    for stem, text in {**KAGGLE, **changed}.items():
        (folder / f"{stem}.csv").write_text(text, newline="")
    return folder


def zipped(path: Path, **members: str | bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def problems_of(folder: Path) -> list[str]:
    with pytest.raises(InputError) as caught:
        instacart.load(folder)
    return [str(problem) for problem in caught.value.problems]


def only_problem_of(folder: Path) -> str:
    problems = problems_of(folder)
    assert len(problems) == 1, problems
    return problems[0]


def assert_equal(one: Tables, other: Tables) -> None:
    assert_frame_equal(one.orders, other.orders)
    assert_frame_equal(one.order_lines, other.order_lines)
    assert_frame_equal(one.products, other.products)


def test_a_sound_folder_is_read_in_types_and_in_order(tmp_path):
    tables = instacart.load(write(tmp_path))

    assert tables.orders.schema == ORDERS_SCHEMA
    assert tables.order_lines.schema == ORDER_LINES_SCHEMA
    assert tables.products.schema == PRODUCTS_SCHEMA
    assert tables.orders.rows() == [
        (1, 101, 1, 0, 8, None, "prior"),
        (1, 102, 2, 3, 8, 10.0, "train"),
        (2, 103, 1, 6, 23, None, "prior"),
        (2, 104, 2, 1, 0, 30.0, "test"),
    ]
    assert tables.order_lines.rows() == [(101, 10, 1), (101, 11, 2), (102, 11, 1), (102, 12, 2), (103, 13, 1)]
    assert tables.products.rows() == [
        (11, "Organic Milk", "milk", "dairy eggs"),
        (10, '6" Organic Carrot Cake', "bakery desserts", "bakery"),
        (12, "Oat Milk, Plain", "milk", "dairy eggs"),
        (13, "Bread", "bakery desserts", "bakery"),
    ]


def as_gzip(folder: Path) -> None:
    for stem, text in KAGGLE.items():
        (folder / f"{stem}.csv.gz").write_bytes(gzip.compress(text.encode()))


def as_csv_zip(folder: Path) -> None:
    for stem, text in KAGGLE.items():
        litter = {f"__MACOSX/._{stem}.csv": "litter", f"._{stem}.csv": "litter", "notes.csv": "mine"}
        zipped(folder / f"{stem}.csv.zip", **{f"{stem}.csv": text, **litter})


def as_zip(folder: Path) -> None:
    for stem, text in KAGGLE.items():
        zipped(folder / f"{stem}.zip", **{f"data/{stem}.csv": text})


def as_outer_zip(folder: Path) -> None:
    as_csv_zip(folder)
    inner = sorted(folder.glob("*.csv.zip"))
    zipped(folder / OUTER_ZIP, **{f"folder/{path.name}": path.read_bytes() for path in inner})
    for path in inner:
        path.unlink()


def as_an_archive_of_another_name(folder: Path) -> None:
    litter = {f"__MACOSX/._{stem}.csv": "litter" for stem in KAGGLE} | {"data/._orders.csv": "litter"}
    zipped(folder / "Archive (1).ZIP", **litter, **{f"data/{stem}.csv": text for stem, text in KAGGLE.items()})


def as_tar_gz(folder: Path) -> None:
    with tarfile.open(folder / "instacart_2017_05_01.tar.gz", "w:gz") as archive:
        for stem, text in KAGGLE.items():
            for name, content in ((f"._{stem}.csv", b"litter"), (f"{stem}.csv", text.encode())):
                member = tarfile.TarInfo(f"instacart_2017_05_01/{name}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


def as_capitals(folder: Path) -> None:
    for stem, text in KAGGLE.items():
        (folder / f"{stem}.CSV").write_text(text)
    (folder / "orders.CSV").rename(folder / "Orders.Csv")


def as_folders(folder: Path) -> None:
    for stem, text in KAGGLE.items():
        (folder / f"{stem}.csv").mkdir()
        (folder / f"{stem}.csv" / f"{stem}.csv").write_text(text)


def as_utf_16(folder: Path) -> None:
    for stem, text in KAGGLE.items():
        (folder / f"{stem}.csv").write_text(text, encoding="utf-16-le" if stem == "aisles" else "utf-16", newline="")


def as_old_mac_csv(folder: Path) -> None:
    for stem, text in KAGGLE.items():
        (folder / f"{stem}.csv").write_text(text, newline="\r")


def as_packed_under_the_wrong_name(folder: Path) -> None:
    as_csv_zip(folder)
    for path in folder.glob("*.csv.zip"):
        path.rename(path.with_suffix(""))
    (folder / "orders.csv").write_bytes(gzip.compress(KAGGLE["orders"].replace("\n", "\r", 2).encode()))


def as_floats(folder: Path) -> None:
    """As pandas writes whole numbers of a column that once had a gap."""
    write(folder)
    for stem in KAGGLE:
        frame = pl.read_csv(folder / f"{stem}.csv").with_columns(pl.col(pl.Int64).cast(pl.Float64))
        frame.write_csv(folder / f"{stem}.csv", null_value="NA")


def as_parquet(folder: Path) -> None:
    write(folder)
    for path in folder.glob("*.csv"):
        frame = pl.read_csv(path, glob=False)
        if "add_to_cart_order" in frame.columns:
            frame = frame.cast({"add_to_cart_order": pl.Float64})  # as pandas writes what once had a gap
        frame.write_parquet(path.with_suffix(".parquet"))
        path.unlink()


def as_windows_csv(folder: Path) -> None:
    for stem, text in KAGGLE.items():
        (folder / f"{stem}.csv").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())


DRESSES = [as_gzip, as_csv_zip, as_zip, as_outer_zip, as_an_archive_of_another_name, as_tar_gz, as_capitals, as_folders]
DRESSES += [as_utf_16, as_old_mac_csv, as_packed_under_the_wrong_name, as_floats, as_parquet, as_windows_csv]


@pytest.mark.parametrize("dress", DRESSES)
def test_every_dress_of_the_files_gives_the_same_tables(tmp_path, dress):
    (tmp_path / "plain").mkdir()
    (tmp_path / "dressed").mkdir()
    dress(tmp_path / "dressed")
    assert_equal(instacart.load(tmp_path / "dressed"), instacart.load(write(tmp_path / "plain")))


@pytest.mark.parametrize("name", ["shop[1]", "shop*", "shop?", "shop{1,2}", "[a-z]hop**"])
@pytest.mark.parametrize("dress", [write, as_parquet, as_gzip])
def test_a_folder_is_read_and_not_those_that_its_name_matches(tmp_path, monkeypatch, name, dress):
    for folder in (name, "shop1", "shops", "plain"):
        (tmp_path / folder).mkdir()
        if folder in ("shop1", "shops"):
            write(tmp_path / folder, aisles=KAGGLE["aisles"].replace("milk", "of another shop"))
    dress(tmp_path / name)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / name))  # what is unpacked is read from there
    assert_equal(instacart.load(tmp_path / name), instacart.load(write(tmp_path / "plain")))
    assert {path.parent for path in instacart.input_files(tmp_path / name)} == {tmp_path / name}


def test_an_archive_may_be_named_itself(tmp_path):
    (tmp_path / "plain").mkdir()
    as_outer_zip(tmp_path)
    assert instacart.input_files(tmp_path / OUTER_ZIP) == [tmp_path / OUTER_ZIP]
    assert_equal(instacart.load(tmp_path / OUTER_ZIP), instacart.load(write(tmp_path / "plain")))


def test_a_file_in_two_archives_is_not_chosen_from(tmp_path):
    as_tar_gz(tmp_path)
    zipped(tmp_path / "more.zip", **{"orders.csv": KAGGLE["orders"]})
    problem = only_problem_of(tmp_path)
    assert problem.startswith("orders.csv: is there twice, as instacart_2017_05_01.tar.gz/instacart_2017_05_01/orders")
    assert "and as more.zip/orders.csv" in problem


def test_an_archive_that_cannot_be_unpacked_is_the_only_problem(tmp_path):
    as_tar_gz(tmp_path)
    archive = tmp_path / "instacart_2017_05_01.tar.gz"
    archive.write_bytes(archive.read_bytes()[:300])
    assert only_problem_of(tmp_path).startswith("instacart_2017_05_01.tar.gz: cannot be unpacked")


def test_a_folder_within_is_named_and_not_chosen(tmp_path):
    for name in ("synthetic", "instacart/2017"):
        (tmp_path / name).mkdir(parents=True)
        write(tmp_path / name)
    problem = only_problem_of(tmp_path)
    assert problem.startswith(f"{tmp_path}: has none of the 6 files")
    assert f"Pass --data_dir {tmp_path}/synthetic or --data_dir {tmp_path}/instacart/2017" in problem


def test_input_files_are_those_that_are_read(tmp_path):
    write(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    assert [path.name for path in instacart.input_files(tmp_path)] == sorted(f"{stem}.csv" for stem in KAGGLE)
    (tmp_path / OUTER_ZIP).write_bytes(b"")
    assert OUTER_ZIP not in [path.name for path in instacart.input_files(tmp_path)]
    (tmp_path / "orders.csv").unlink()
    assert OUTER_ZIP in [path.name for path in instacart.input_files(tmp_path)]


def test_progress_counts_what_was_read(tmp_path):
    told: list[str] = []
    instacart.load(write(tmp_path), told.append)
    assert "2 users, 4 orders (0 of prior and train without lines), 5 order lines, 4 products" in told


def test_a_folder_that_is_not_there(tmp_path):
    problems = problems_of(tmp_path / "nowhere")
    assert len(problems) == 6
    assert "there is no folder" in problems[0]


def test_a_missing_file_does_not_hide_other_problems(tmp_path):
    write(tmp_path, departments="department_id,department\n1,dairy eggs\n1,bakery\n")
    (tmp_path / "orders.csv").unlink()
    missing, *others = sorted(problems_of(tmp_path), key=lambda problem: "orders.csv" not in problem)
    assert missing.startswith(f"orders.csv: is missing from {tmp_path}. Put orders.csv")
    assert any(other.startswith("departments.csv, column department_id, line 3: 1 is there twice") for other in others)


@pytest.mark.parametrize(
    ("right", "wrong", "advice"),
    [
        ("orders.csv", "Order.csv", "save it as orders.csv"),
        ("order_products__prior.csv", "order_products_prior.csv", "save it as order_products__prior.csv"),
        ("products.csv", "product.csv.gz", "save it as products.csv.gz"),
        ("aisles.csv", "aisles.txt", "save it as aisles.csv"),
    ],
)
def test_a_misnamed_file_is_suggested(tmp_path, right, wrong, advice):
    write(tmp_path)
    (tmp_path / right).rename(tmp_path / wrong)
    problem = only_problem_of(tmp_path)
    assert problem.startswith(f"{right}: is missing")
    assert f"which has {wrong}" in problem
    assert advice in problem


def test_a_missing_column_is_named_with_its_near_name(tmp_path):
    write(tmp_path, orders=KAGGLE["orders"].replace("order_hour_of_day", "hour_of_day").replace("eval_set", "set"))
    hour, eval_set = sorted(problems_of(tmp_path), key=lambda problem: "eval_set" in problem)
    assert (
        hour
        == "orders.csv, column order_hour_of_day: this column is missing. Rename 'hour_of_day' to 'order_hour_of_day'"
    )
    assert eval_set.startswith("orders.csv, column eval_set: this column is missing.")


@pytest.mark.parametrize(
    ("old", "new", "hints"),
    [
        ("order_dow", "order_uuid", ["Add it; the header has order_id"]),
        ("order_id,user_id", "order_uid,uid", ["Rename 'order_uid' to 'order_id'", "Add it; the header has order_uid"]),
        ("order_id,user_id", "id,usr_id", ["Rename 'id' to 'order_id'", "Rename 'usr_id' to 'user_id'"]),
        ("order_hour_of_day", "Order Hour of Day", ["Rename 'Order Hour of Day' to 'order_hour_of_day'"]),
    ],
)
def test_a_column_is_suggested_for_one_that_is_much_like_it_and_once(tmp_path, old, new, hints):
    write(tmp_path, orders=KAGGLE["orders"].replace(old, new))
    problems = problems_of(tmp_path)
    assert len(problems) == len(hints)
    assert all(f"this column is missing. {hint}" in problem for problem, hint in zip(problems, hints, strict=True))


def test_a_column_that_is_there_twice(tmp_path):
    write(tmp_path, aisles="aisle_id,aisle,aisle\n1,milk,milk\n2,bakery desserts,x\n")
    assert only_problem_of(tmp_path).startswith("aisles.csv, column aisle: this column is there twice")


def test_a_header_with_another_separator_is_shown(tmp_path):
    write(tmp_path, aisles=KAGGLE["aisles"].replace(",", ";"))
    problem = only_problem_of(tmp_path)
    assert problem.startswith("aisles.csv: the fields are not separated by commas: the header has aisle_id;aisle")


@pytest.mark.parametrize(
    ("stem", "old", "new", "place", "what"),
    [
        ("orders", "101,1,prior", "x,1,prior", "column order_id, line 3", "'x' is not a whole number"),
        ("orders", "101,1,prior", "101,1.5,prior", "column user_id, line 3", "'1.5' is not a whole number"),
        ("orders", "1,0,08", "1,7,08", "column order_dow, line 3", "'7' is not a whole number from 0 to 6"),
        ("orders", "1,0,08", "1,700,08", "column order_dow, line 3", "'700' is not a whole number from 0 to 6"),
        ("orders", "3,8,10", "3,24,10", "column order_hour_of_day, line 4", "'24' is not a whole number from 0 to 23"),
        ("orders", "train", "valid", "column eval_set, line 4", "'valid' is not one of prior, train, test"),
        ("orders", "test,2", "test,0", "column order_number, line 5", "'0' is not a whole number from 1"),
        ("orders", "8,10.0", "8,-1", "column days_since_prior_order, line 4", "'-1' is not a number of days"),
        ("orders", "8,10.0", "8,inf", "column days_since_prior_order, line 4", "'inf' is not a number of days"),
        ("orders", "8,10.0", "8,", "column days_since_prior_order, line 4", "a value is missing"),
        ("orders", "103,2", "103,", "column user_id, line 2", "a value is missing"),
        ("products", "13,Bread", "13,", "column product_name, line 6", "a value is missing"),
        ("products", "13,Bread,2", "13,Bread,two", "column aisle_id, line 6", "'two' is not a whole number"),
        ("aisles", "2,bakery desserts", '2,"  "', "column aisle, line 3", "a value is missing"),
        ("order_products__prior", "11,2,0", "11,0,0", "column add_to_cart_order, line 3", "'0' is not a whole"),
        ("order_products__prior", "11,2,0", "11", "column add_to_cart_order, line 3", "a value is missing"),
        ("order_products__prior", "101,11,2,0\n", "\n", "column order_id, line 3", "a value is missing"),
    ],
)
def test_a_wrong_value_is_told_with_its_place(tmp_path, stem, old, new, place, what):
    assert old in KAGGLE[stem]
    write(tmp_path, **{stem: KAGGLE[stem].replace(old, new, 1)})
    assert any(problem.startswith(f"{stem}.csv, {place}: {what}") for problem in problems_of(tmp_path))


@pytest.mark.parametrize(
    ("stem", "old", "new", "place", "what"),
    [
        ("products", "13,Bread,2", "13,Bread, white,2", 6, "5 fields instead of 4: '13,Bread, white,2,2'"),
        ("products", "13,Bread", '13,Br"ead', 6, "a quote is opened and never closed: '13,Br\"ead,2,2'"),
        ("products", "13,Bread", '13,"Bread', 6, "a quote is opened and never closed: '13,\"Bread,2,2'"),
        ("products", "13,Bread", '13,"Bread" white', 6, "a quote stands within a field: '13,\"Bread\" white,2,2'"),
        ("products", "11,Organic", '11,"Organic', 2, "a quote is opened and never closed: '11,\"Organic Milk,1,1'"),
        ("aisles", "1,milk", "1,milk, cream", 2, "3 fields instead of 2: '1,milk, cream'"),
        ("order_products__prior", "101,11,2,0", "101,11,2,0,\n\n", 3, "5 fields instead of 4: '101,11,2,0,'"),
        ("order_products__prior", "101,10,1,0", '101,10,1,"0', 4, "a quote is opened and never closed"),
    ],
)
def test_a_comma_or_a_quote_too_many_is_told_with_its_line_alone(tmp_path, stem, old, new, place, what):
    assert old in KAGGLE[stem]
    write(tmp_path, **{stem: KAGGLE[stem].replace(old, new, 1)})
    assert only_problem_of(tmp_path).startswith(f"{stem}.csv, line {place}: {what}")


@pytest.mark.parametrize("word", checks.MISSING)
def test_every_word_for_a_missing_value_counts_as_an_empty_field(tmp_path, word):
    (tmp_path / "plain").mkdir()
    (tmp_path / "words").mkdir()
    orders = KAGGLE["orders"].replace("23,\n", f"23,{word}\n")
    write(tmp_path / "words", orders=orders)
    assert_equal(instacart.load(tmp_path / "words"), instacart.load(write(tmp_path / "plain")))
    write(
        tmp_path, orders=orders.replace("10.0", word).replace("train", word), aisles=f"aisle_id,aisle\n1,{word}\n2,x\n"
    )
    problems = problems_of(tmp_path)
    assert [problem.partition(". ")[0] for problem in problems] == [
        "aisles.csv, column aisle, line 2: a value is missing",
        "orders.csv, column eval_set, line 4: a value is missing",
        "orders.csv, column days_since_prior_order, line 4: a value is missing",
    ]
    assert all(f"{word}" in problem.partition(". ")[2] for problem in problems)


@pytest.mark.parametrize(
    ("stem", "old", "new"),
    [
        ("orders", "101,1,prior", "x,1,prior"),
        ("orders", "101,1,prior", ",1,prior"),
        ("orders", "102,1,train", "102,1,"),
        ("products", "11,Organic", "11.5,Organic"),
        ("aisles", "1,milk", "9999999999,milk"),
        ("orders", "8,10.0\n104,2,test,2,1,0,30.0\n", "8,10.0"),
        ("orders", "104,2,test", "102,2,test"),
    ],
)
def test_a_refused_row_does_not_make_its_id_missing_elsewhere(tmp_path, stem, old, new):
    assert old in KAGGLE[stem]
    write(tmp_path, **{stem: KAGGLE[stem].replace(old, new, 1)})
    assert only_problem_of(tmp_path).startswith(f"{stem}.csv")


def test_a_wrong_value_in_parquet_is_told_with_its_row(tmp_path):
    as_parquet(tmp_path)
    lines = pl.DataFrame({"order_id": [102, 102], "product_id": [11, 12], "add_to_cart_order": [1.0, 2.5]})
    lines.write_parquet(tmp_path / "order_products__train.parquet")
    problem = only_problem_of(tmp_path)
    assert problem.startswith("order_products__train.parquet, column add_to_cart_order, line 2: 2.5 is not a whole")


def test_many_wrong_values_are_one_problem_with_their_count(tmp_path):
    write(tmp_path, orders=KAGGLE["orders"].replace(",0,08,", ",8,08,").replace(",1,0,30", ",9,0,30"))
    problem = only_problem_of(tmp_path)
    assert problem.startswith("orders.csv, column order_dow, line 3: '8' is not")
    assert "(the first of 2)" in problem


@pytest.mark.parametrize(
    ("stem", "row", "problem"),
    [
        ("orders", "104,3,prior,1,1,1,\n", "orders.csv, column order_id, line 6: 104 is there twice"),
        ("orders", "105,1,test,2,1,1,3.0\n", "orders.csv, column user_id, order_number, line 6: 1, 2 is there twice"),
        ("products", "11,Milk,1,1\n", "products.csv, column product_id, line 7: 11 is there twice"),
        ("aisles", "1,milk\n", "aisles.csv, column aisle_id, line 4: 1 is there twice"),
        ("departments", "1,x\n", "departments.csv, column department_id, line 4: 1 is there twice"),
        (
            "order_products__prior",
            "101,11,3,0\n",
            "order_products__prior.csv, column order_id, product_id, line 5: 101, 11 is there twice",
        ),
        ("order_products__prior", "777,11,1,0\n", "order_products__prior.csv, column order_id, line 5: 777 is not in"),
        ("order_products__train", "102,88,3,0\n", "order_products__train.csv, column product_id, line 4: 88 is not in"),
        ("products", "14,Milk,9,1\n", "products.csv, column aisle_id, line 7: 9 is not in aisles.csv"),
        ("products", "14,Milk,1,9\n", "products.csv, column department_id, line 7: 9 is not in departments.csv"),
        (
            "order_products__train",
            "101,13,3,0\n",
            "order_products__train.csv, column order_id, line 4: 101 has eval_set prior in orders.csv",
        ),
        (
            "order_products__prior",
            "102,13,3,0\n",
            "order_products__prior.csv, column order_id, line 5: 102 has eval_set train in orders.csv",
        ),
        (
            "order_products__train",
            "104,13,1,0\n",
            "order_products__train.csv, column order_id, line 4: 104 has eval_set test in orders.csv",
        ),
    ],
)
def test_files_that_contradict_themselves_or_each_other(tmp_path, stem, row, problem):
    write(tmp_path, **{stem: KAGGLE[stem] + row})
    assert only_problem_of(tmp_path).startswith(problem)


def test_a_line_in_both_files_is_a_duplicate_and_misplaced(tmp_path):
    write(tmp_path, order_products__prior=KAGGLE["order_products__prior"] + "102,12,3,0\n")
    duplicate, misplaced = sorted(problems_of(tmp_path), key=lambda problem: "eval_set" in problem)
    assert "102, 12 is there twice" in duplicate
    assert "102 has eval_set train" in misplaced


@pytest.mark.parametrize("stem", KAGGLE)
@pytest.mark.parametrize(("text", "what"), [("", "0 bytes"), ("header", "has a header and no rows")])
def test_an_empty_file(tmp_path, stem, text, what):
    write(tmp_path, **{stem: text and KAGGLE[stem].partition("\n")[0] + "\n"})
    problem = only_problem_of(tmp_path)
    assert problem.startswith(f"{stem}.csv: the file ")
    assert what in problem
    assert "Download it again" in problem


@pytest.mark.parametrize(
    ("stem", "cut", "problem"),
    [
        ("orders", 1, "orders.csv, line 5: the last line has no newline at its end"),
        ("order_products__prior", 4, "order_products__prior.csv, line 4: the last line has no newline at its end"),
        ("products", 19, "products.csv, line 4: a quote is opened and never closed"),
    ],
)
def test_a_file_that_was_cut(tmp_path, stem, cut, problem):
    write(tmp_path, **{stem: KAGGLE[stem][:-cut]})
    assert any(found.startswith(problem) for found in problems_of(tmp_path))


def test_a_last_line_of_too_few_fields(tmp_path):
    write(tmp_path, order_products__prior=KAGGLE["order_products__prior"].removesuffix(",0\n") + "\n")
    problem = only_problem_of(tmp_path)
    assert problem.startswith("order_products__prior.csv, line 4: the last line is cut: '101,10,1' has 3 of 4 fields")


def test_archives_that_cannot_be_unpacked(tmp_path):
    write(tmp_path)
    for stem in ("orders", "products", "aisles"):
        (tmp_path / f"{stem}.csv").unlink()
    (tmp_path / "orders.csv.gz").write_bytes(gzip.compress(KAGGLE["orders"].encode())[:-20])
    (tmp_path / "products.csv.zip").write_bytes(b"not a zip")
    zipped(tmp_path / "aisles.zip", **{"a.csv": "", "b.csv": ""})
    problems = problems_of(tmp_path)
    assert [re.split(r": | \(", problem)[1] for problem in problems] == ["cannot be unpacked"] * 3
    assert {problem.split(":")[0] for problem in problems} == {"orders.csv.gz", "products.csv.zip", "aisles.zip"}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (KAGGLE["aisles"].encode("utf-16")[:-1], "aisles.csv: cannot be read ('utf-16-le' codec can't decode byte"),
        (b"PAR1\0\0\0", "aisles.csv: cannot be read (it is no text)"),
        (KAGGLE["aisles"].replace("milk", "mi\0lk").encode(), "aisles.csv: cannot be read (it is no text)"),
        (b"PK\x05\x06" + b"\0" * 18, "aisles.csv: cannot be unpacked (it holds 0 CSV files instead of one)"),
        (b"aisle_id," + b"x" * 200_000 + b"\n", "aisles.csv: cannot be read (field larger than field limit"),
        (b"<!DOCTYPE html>\n<html>\n", "aisles.csv: the fields are not separated by commas: the header has <!DOCTYPE"),
    ],
)
def test_a_file_that_is_no_csv(tmp_path, content, problem):
    write(tmp_path)
    (tmp_path / "aisles.csv").write_bytes(content)
    assert only_problem_of(tmp_path).startswith(problem)


@pytest.mark.parametrize("put", [Path.mkdir, lambda path: path.symlink_to("nowhere")])
def test_a_folder_or_a_broken_link_in_the_place_of_a_file(tmp_path, put):
    write(tmp_path)
    (tmp_path / "aisles.csv").unlink()
    put(tmp_path / "aisles.csv")
    assert only_problem_of(tmp_path).endswith("That is a folder, or a link to nothing: put the file there")


def test_an_outer_zip_that_lacks_a_file(tmp_path):
    zipped(tmp_path / OUTER_ZIP, **{f"{stem}.csv": text for stem, text in KAGGLE.items() if stem != "aisles"})
    for data_dir in (tmp_path, tmp_path / OUTER_ZIP):
        assert only_problem_of(data_dir).startswith(f"aisles.csv: is missing from {data_dir}. P")


def test_bytes_that_are_not_text(tmp_path):
    write(tmp_path)
    (tmp_path / "aisles.csv").write_bytes(b"aisle_id,aisle\n1,milk\n2,caf\xe9\n")
    assert only_problem_of(tmp_path).startswith("aisles.csv, line 3: is not UTF-8 text")
    (tmp_path / "aisles.csv").write_text(KAGGLE["aisles"])
    (tmp_path / "products.csv").write_bytes(KAGGLE["products"].replace("Bread,2,2", "café").encode("latin-1"))
    assert only_problem_of(tmp_path).startswith("products.csv, line 6: is not UTF-8 text")


def test_all_problems_are_reported_together(tmp_path):
    write(
        tmp_path,
        orders=KAGGLE["orders"].replace("3,8,10.0", "9,8,10.0"),
        order_products__train=KAGGLE["order_products__train"] + "999,11,1,0\n",
        departments="department_id,department\n",
        products=KAGGLE["products"].replace("product_name", "name"),
    )
    (tmp_path / "aisles.csv").unlink()
    with pytest.raises(InputError, match="5 problems in the input from") as caught:
        instacart.load(tmp_path)
    report = str(caught.value)
    for part in (
        "aisles.csv: is missing",
        "departments.csv: the file has a header and no rows",
        "products.csv, column product_name: this column is missing. Rename 'name' to 'product_name'",
        "orders.csv, column order_dow, line 4: '9' is not",
        "order_products__train.csv, column order_id, line 4: 999 is not in orders.csv",
    ):
        assert part in report


def test_an_order_without_lines_is_let_through(tmp_path):
    told: list[str] = []
    write(tmp_path, orders=KAGGLE["orders"] + "105,3,prior,1,1,1,\n")
    assert instacart.load(tmp_path, told.append).orders.height == 5
    assert any("(1 of prior and train without lines)" in message for message in told)


@pytest.mark.skipif(not SAMPLE.is_dir(), reason=f"the real sample is not at {SAMPLE}")
def test_the_real_sample():
    tables = instacart.load(SAMPLE)
    assert tables.orders[schema.USER_ID].n_unique() == 1_875
    assert tables.orders.height == 32_091
    assert tables.order_lines.height == 301_306 + 20_236
    assert tables.products.height == 49_688
    assert not tables.products[schema.PRODUCT_NAME].str.contains(r'\\"|\s\s|^\s|\s$').any()
    assert '6" Organic Carrot Cake' in tables.products[schema.PRODUCT_NAME]
    assert tables.orders.equals(tables.orders.sort(schema.USER_ID, schema.ORDER_NUMBER))
    assert tables.order_lines.equals(tables.order_lines.sort(schema.ORDER_ID, schema.CART_POSITION))


def test_links_of_an_archive_are_left_aside(tmp_path):
    with tarfile.open(tmp_path / "data.tar", "w") as archive:
        link = tarfile.TarInfo("latest")
        link.type, link.linkname = tarfile.SYMTYPE, "/mnt/gone"
        archive.addfile(link)
        (tmp_path / "plain").mkdir()
        for file in write(tmp_path / "plain").iterdir():
            archive.add(file, file.name)
    shutil.rmtree(tmp_path / "plain")
    assert len(instacart.load(tmp_path).orders)
