"""Damaged copies of every set's files end in an error or in listed rows, never in a wrong label."""

import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from faceworkbook import datasets, faces
from faceworkbook.datasets import affectnet, genki4k

from .test_adience import adience_set, picture, row
from .test_aflw import write_database
from .test_expw import expw_set
from .test_ferplus import ferplus_set, line
from .test_genki4k import genki_set
from .test_imdb_wiki import row as wiki_row
from .test_imdb_wiki import write_mat

N = 12
LABELS = ["identity", *faces.BOX, *faces.KNOWN_VOCABULARIES, *faces.RANGES, "split", "fold"]
QUIET = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def some(values):
    return [values[i % len(values)] for i in range(N)]


def lay_adience(lay):
    ages, genders = some(["(25, 32)", "(0, 2)", "(60, 100)", "(38, 43)", "None"]), some(["f", "m", "u"])
    rows = [
        row(face=i, age=a, gender=g, yaw=i) for i, (a, g) in enumerate(zip(ages, genders, strict=True), 10)
    ]
    return lay(adience_set(rows, [picture(face=i) for i in range(10, 10 + N)])), "fold_2_data.txt"


def lay_fairface(lay):
    fields = zip(
        some(faces.AGE_GROUPS_FAIRFACE), some(["Male", "Female"]), some(faces.RACES_FAIRFACE), strict=True
    )
    rows = "".join(
        f"train/{i}.jpg,{age},{gender},{race},True\n" for i, (age, gender, race) in enumerate(fields, 8)
    )
    header = "file,age,gender,race,service_test\n"
    files = {"fairface_label_train.csv": header + rows, "fairface_label_val.csv": header}
    return lay(files | {f"train/{i}.jpg": b"" for i in range(8, 8 + N)}), "fairface_label_train.csv"


def lay_expw(lay):
    text = "".join(f"p{i}.jpg 0 {i} {i + 1} {i + 70} {i + 90} 5{i}.5 {i % 7}\n" for i in range(8, 8 + N))
    return lay(expw_set(text, [f"p{i}.jpg" for i in range(8, 8 + N)])), "label.lst"


def lay_ferplus(lay):
    rows = [line(i, *([0] * (i % 8) + [10])) for i in range(8, 8 + N)]
    return lay(ferplus_set(rows, range(8, 8 + N))), "fer2013new.csv"


def lay_csv(lay):
    fields = zip(some(["male", "female", "NA"]), some(faces.RACES_UTKFACE), range(12, 12 + N), strict=True)
    text = "image,gender,race,age\n" + "".join(f"{a}.jpg,{g},{r},{a}\n" for g, r, a in fields)
    return lay({"faces.csv": text} | {f"{a}.jpg": b"" for a in range(12, 12 + N)}), "faces.csv"


def lay_celeba(lay):
    rows = "".join(f"0000{i}.jpg {i % 2 * 2 - 1} {i % 3 // 2 * 2 - 1} 1\n" for i in range(10, 10 + N))
    files = {"list_attr_celeba.txt": f"{N}\nMale Smiling Young\n{rows}"}
    files["list_eval_partition.txt"] = "".join(f"0000{i}.jpg {i % 3}\n" for i in range(10, 10 + N))
    files["identity_CelebA.txt"] = "".join(f"0000{i}.jpg {i // 3}\n" for i in range(10, 10 + N))
    pictures = {f"img_align_celeba/0000{i}.jpg": b"" for i in range(10, 10 + N)}
    return lay(files | pictures), "list_attr_celeba.txt"


def lay_rafdb(lay):
    stems = [f"train_000{i}" for i in range(10, 10 + N)]
    text = "".join(f"{stem}.jpg {i % 7 + 1}\n" for i, stem in enumerate(stems))
    pictures = {f"Image/aligned/{stem}_aligned.jpg": b"" for stem in stems}
    return lay({"EmoLabel/list_patition_label.txt": text} | pictures), "EmoLabel/list_patition_label.txt"


def lay_affectnet(lay):
    header = ",".join(affectnet.HEADER) + "\n"
    rows = "".join(f"1/{i}.jpg,1,{i},50,60,1;2,{i % 8},0.{i},-0.{i}\n" for i in range(10, 10 + N))
    pictures = {f"Manually_Annotated_Images/1/{i}.jpg": b"" for i in range(10, 10 + N)}
    return lay({"training.csv": header + rows, "validation.csv": header} | pictures), "training.csv"


def lay_appa_real(lay):
    header = "file_name,num_ratings,apparent_age_avg,apparent_age_std,real_age\n"
    rows = "".join(f"0000{i}.jpg,3{i},{i}.25,3.{i},{i + 3}\n" for i in range(10, 10 + N))
    pictures = {f"train/0000{i}.jpg_face.jpg": b"" for i in range(10, 10 + N)}
    return lay({"gt_avg_train.csv": header + rows} | pictures), "gt_avg_train.csv"


def lay_genki(lay):
    return lay(genki_set("".join(f"{i % 2} 0.{i} 0.1{i} 0.2{i}\n" for i in range(2)))), "labels.txt"


def lay_wiki(lay):
    root = lay([])
    paths = [f"00/{i}_19{i + 20}-05-0{i % 9 + 1}_2009.jpg" for i in range(10, 10 + N)]
    write_mat(
        root / "wiki_crop/wiki.mat", [wiki_row(path, gender=float(i % 2)) for i, path in enumerate(paths)]
    )
    (root / "wiki_crop/00").mkdir()
    for path in paths:
        (root / "wiki_crop" / path).write_bytes(b"")
    return root, "wiki_crop/wiki.mat"


def lay_aflw(lay):
    return write_database(lay([]), [(0.1 * i, 0.05 * i, 0.01 * i) for i in range(N)]), "aflw.sqlite"


TEXTS = {
    "adience": lay_adience,
    "affectnet": lay_affectnet,
    "appa_real": lay_appa_real,
    "celeba": lay_celeba,
    "csv": lay_csv,
    "expw": lay_expw,
    "fairface": lay_fairface,
    "ferplus": lay_ferplus,
    "genki4k": lay_genki,
    "rafdb": lay_rafdb,
}
BINARIES = {"imdb_wiki": lay_wiki, "aflw": lay_aflw}


def labels(dataset):
    table = dataset.faces.set_index("face_id")[LABELS].astype(object)
    return table.where(table.notna(), None).to_dict("index")


def check(name, root, true):
    """Load the damaged set; every face that is still read has the labels it had, or lacks one and is listed."""
    try:
        dataset = datasets.load(name, root)
    except datasets.DatasetError:
        return
    read = labels(dataset)
    lost = 0
    for face, values in read.items():
        wrong = {name: value for name, value in values.items() if value != true[face][name]}
        assert not [value for value in wrong.values() if value is not None]
        lost += len(wrong)
    assert len(read) == len(true) or len(dataset.left_out)
    assert not lost or len(dataset.notices)


@pytest.fixture
def whole(lay, monkeypatch):
    """``whole(name)``: a small set, the file to damage, and its true labels."""

    def make(name):
        root, file = {**TEXTS, **BINARIES}[name](lay)
        if name == "genki4k":
            monkeypatch.setattr(genki4k, "DISTRIBUTED", genki4k.fingerprint(root / file))
        true = labels(datasets.load(name, root))
        assert len(true) == (2 if name == "genki4k" else N)
        return root, root / file, true

    return make


@pytest.mark.parametrize("name", [*TEXTS, *BINARIES])
def test_cut_anywhere(name, whole):
    root, path, true = whole(name)
    content = path.read_bytes()

    @QUIET
    @given(st.integers(0, len(content) - 1))
    def cut(length):
        path.write_bytes(content[:length])
        check(name, root, true)

    cut()


@pytest.mark.parametrize("name", TEXTS)
def test_lines_shuffled(name, whole):
    root, path, true = whole(name)
    lines = path.read_bytes().splitlines(keepends=True)

    @QUIET
    @given(st.permutations(lines))
    def shuffle(shuffled):
        path.write_bytes(b"".join(shuffled))
        check(name, root, true)

    shuffle()


def recode(text, how):
    if how == "blank lines":
        return (text + "\n\n \n").encode()
    ends = {"crlf": "\r\n", "cr": "\r"}.get(how, "\n")
    encoding = {"mark": "utf-8-sig", "utf-16": "utf-16"}.get(how, "utf-8")
    return text.replace("\n", ends).encode(encoding)


@pytest.mark.parametrize("how", ["crlf", "cr", "mark", "utf-16", "blank lines"])
@pytest.mark.parametrize("name", TEXTS)
def test_line_ends_marks_and_blank_lines_change_nothing(name, how, whole):
    root, path, true = whole(name)
    noticed = datasets.load(name, root).notices["reason"].tolist()
    path.write_bytes(recode(path.read_text(), how))
    if name == "genki4k" and how == "utf-16":  # its lines are tied to pictures by the file's own bytes
        with pytest.raises(datasets.DatasetError, match="not the file as distributed"):
            datasets.load(name, root)
        return
    dataset = datasets.load(name, root)
    assert labels(dataset) == true and dataset.notices["reason"].tolist() == noticed


@pytest.mark.parametrize("name", ["adience", "csv", "fairface", "ferplus"])
def test_headers_in_another_case_and_a_delimiter_at_the_end_change_nothing(name, whole):
    root, path, true = whole(name)
    header, *lines = path.read_text().splitlines()
    sign = "\t" if "\t" in header else ","
    head = sign.join(f" {word.upper().replace('_', ' ')}" for word in header.split(sign))
    path.write_text("".join(f"{line}{sign}\n" for line in [head, *lines]))
    assert labels(datasets.load(name, root)) == true


@pytest.mark.parametrize("name", ["csv", "fairface"])
def test_paths_in_another_spelling_lead_to_the_same_pictures(name, whole):
    root, path, true = whole(name)
    text = path.read_text()
    for old, new in (
        (".jpg", ".JPG"),
        (".jpg", ".png"),
        ("train/", ".\\\\train\\"),
        ("train/", "D:/x/train/"),
    ):
        path.write_text(text.replace(old, new))
        assert labels(datasets.load(name, root)) == true


@pytest.mark.parametrize("name", TEXTS)
def test_lines_lost_and_doubled(name, whole):
    root, path, true = whole(name)
    header, *lines = path.read_bytes().splitlines(keepends=True)

    @QUIET
    @given(st.lists(st.sampled_from(lines), max_size=2 * len(lines)))
    def lose(some_lines):
        path.write_bytes(b"".join([header, *some_lines]))
        try:
            read = labels(datasets.load(name, root))
        except datasets.DatasetError:
            return
        assert {face: true[face] for face in read} == read

    lose()


@pytest.mark.parametrize("name", [*TEXTS, *BINARIES])
def test_any_bytes(name, whole):
    root, path, _ = whole(name)

    @QUIET
    @given(st.binary(max_size=300))
    def other(content):
        path.write_bytes(content)
        try:
            read = datasets.load(name, root)
        except datasets.DatasetError:
            return
        assert read.faces.empty

    other()


def test_rows_of_a_mat_file_in_another_order(lay):
    root, file = lay_wiki(lay)
    true = labels(datasets.load("imdb_wiki", root))
    paths = [face.split("wiki_crop/")[1] for face in true]
    expected = {f"imdb_wiki:wiki_crop/{path}": wiki_row(path) for path in paths}
    genders = {face: 1.0 if values["gender"] == "male" else 0.0 for face, values in true.items()}
    order = np.random.default_rng(0).permutation(list(expected))
    write_mat(root / file, [expected[face] | {"gender": genders[face]} for face in order])
    assert labels(datasets.load("imdb_wiki", root)) == true


def test_birth_dates_of_a_mat_file_out_of_step(lay):
    root, file = lay_wiki(lay)
    rows = [wiki_row(path) for path in (root / "wiki_crop").rglob("*.jpg") for path in [f"00/{path.name}"]]
    moved = [r | {"dob": other["dob"]} for r, other in zip(rows, rows[1:] + rows[:1], strict=True)]
    write_mat(root / file, moved)
    dataset = datasets.load("imdb_wiki", root)
    assert dataset.faces.empty and set(dataset.left_out["reason"]) == {"dates contradict the name"}


NAMED = {
    "utkface": ("25_1_2_20170116174525125.jpg.chip.jpg", "age gender race"),
    "kdef": ("AF01/AF01ANS.JPG", "emotion gender yaw identity"),
    "fgnet": ("images/001A43b.JPG", "age identity"),
    "agegender_cleaned": ("combined/aligned/25_F/nm0000545_rm12_1985-7-26_2010.jpg", "age gender split"),
    "sfew": ("Train/Angry/Airheads_000519240_00000005.png", "emotion split"),
}


@pytest.mark.parametrize("name", NAMED)
def test_cut_names(name, tmp_path):
    """A name cut at its end keeps the labels, or the file is listed, or the whole set is refused."""
    path, columns = NAMED[name]
    folder, _, stem = path.rpartition("/")
    whole_set = tmp_path / "whole"
    (whole_set / folder).mkdir(parents=True)
    (whole_set / path).write_bytes(b"")
    true = datasets.load(name, whole_set).faces[columns.split()].iloc[0].to_list()
    for length in range(1, len(stem)):
        root = tmp_path / str(length)
        (root / folder).mkdir(parents=True)
        (root / folder / stem[:length]).write_bytes(b"")
        try:
            dataset = datasets.load(name, root)
        except datasets.DatasetError:
            continue
        assert dataset.faces.empty or dataset.faces[columns.split()].iloc[0].to_list() == true
        assert len(dataset.faces) + len(dataset.left_out) == (0 if re.match(r"\.", stem[:length]) else 1)


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "file"),
    [("fairface", "fairface_label_val.csv"), ("expw", "label.lst"), ("genki4k", "labels.txt")],
)
def test_real_files_cut_and_shuffled(name, file, shared_data, tmp_path):
    source = shared_data(name)
    for path in source.iterdir():
        if path.name != file:
            (tmp_path / path.name).symlink_to(path)
    true = labels(datasets.load(name, source))
    content = (source / file).read_bytes()
    rng = np.random.default_rng(0)
    lines = content.splitlines(keepends=True)
    for _ in range(2):
        (tmp_path / file).write_bytes(content[: rng.integers(len(content))])
        check(name, tmp_path, true)
        (tmp_path / file).write_bytes(
            b"".join([lines[0], *rng.permutation(np.array(lines[1:], dtype=object))])
        )
        check(name, tmp_path, true)
