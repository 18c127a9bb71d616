import subprocess
import sys
from pathlib import Path

import pytest

from faceworkbook import datasets

NAMES = [
    "adience",
    "affectnet",
    "aflw",
    "agegender_cleaned",
    "appa_real",
    "celeba",
    "csv",
    "expw",
    "fairface",
    "ferplus",
    "fgnet",
    "genki4k",
    "identity_folder",
    "image_folder",
    "imdb_wiki",
    "kdef",
    "megaage_asian",
    "rafdb",
    "sfew",
    "synthetic",
    "utkface",
]


def test_the_table_is_complete():
    table = datasets.list()
    assert table["name"].tolist() == NAMES
    assert table.map(lambda text: isinstance(text, str) and bool(text)).all(axis=None)
    assert all(datasets.describe(name).layout.strip() for name in NAMES)


def test_markdown_has_a_line_for_each_set():
    lines = datasets.markdown().splitlines()
    assert len(lines) == 2 + len(NAMES)
    assert all(line.count("|") == lines[0].count("|") for line in lines)


def test_the_page_has_the_table():
    page = (Path(__file__).parents[2] / "docs/datasets.md").read_text()
    inside = page.split("<!-- datasets -->")[1].split("<!-- /datasets -->")[0]
    hint = "put what faceworkbook.datasets.markdown() returns between the marks"
    assert inside.strip() == datasets.markdown().strip(), hint


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_folder_shows_what_is_expected(name, tmp_path):
    with pytest.raises(datasets.DatasetError, match=r"(?s)Expected.*There is: "):
        datasets.load(name, tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_folder_shows_what_is_expected(name, tmp_path):
    with pytest.raises(datasets.DatasetError, match=r"(?s)no folder at.*Expected layout"):
        datasets.load(name, tmp_path / "none")


def test_unknown_names_and_options_are_refused(tmp_path):
    with pytest.raises(datasets.DatasetError, match="no data set is called 'utk'; expected one of"):
        datasets.load("utk", tmp_path)
    with pytest.raises(
        datasets.DatasetError, match=r"no option \['disputd'\] \(did you mean 'disputed'\?\); allowed"
    ):
        datasets.load("utkface", tmp_path, disputd="39_0_1")


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("adience", "images"),
        ("adience", "folds"),
        ("adience", "age_map"),
        ("aflw", "bins"),
        ("ferplus", "mode"),
        ("ferplus", "undecided"),
        ("genki4k", "order"),
        ("imdb_wiki", "source"),
        ("imdb_wiki", "images"),
        ("imdb_wiki", "several_faces"),
        ("imdb_wiki", "unknown_gender"),
        ("utkface", "disputed"),
    ],
)
def test_a_misspelt_choice_lists_the_allowed_ones(name, option, tmp_path):
    with pytest.raises(datasets.DatasetError, match=rf"{option}='misspelt'; allowed are \["):
        datasets.load(name, tmp_path, **{option: "misspelt"})


@pytest.mark.parametrize(
    ("name", "option", "value", "message"),
    [
        ("expw", "min_confidence", "high", "must be a number"),
        ("expw", "min_confidence", float("nan"), "0 or more"),
        ("imdb_wiki", "min_age", 1.5, "must be a whole number"),
        ("imdb_wiki", "max_age", True, "must be a whole number"),
        ("csv", "table", 3, "must be a text"),
        ("csv", "columns", "gender=Sex", "must be a list of texts"),
        ("csv", "free", [1], "must be a list of texts"),
        ("image_folder", "label", ["gender"], "must be a text"),
    ],
)
def test_an_option_of_the_wrong_kind_is_one_clear_error(name, option, value, message, tmp_path):
    with pytest.raises(datasets.DatasetError, match=rf"{option}=.*{message}"):
        datasets.load(name, tmp_path, **{option: value})


def test_counts_add_up_by_reason(lay):
    dataset = datasets.load("utkface", lay(["20_0_0_20170116174525999.jpg", "x.jpg", "a.txt"]))
    assert dict(dataset.counts().to_numpy().tolist()) == {
        "faces read": 1,
        "left out: not a picture": 1,
        "left out: name malformed": 1,
    }


@pytest.fixture
def toy(monkeypatch):
    """A registered reader of five lines."""
    monkeypatch.setattr(datasets, "_REGISTERED", {})

    def read(root, *, suffix: str = ".jpg"):
        names = sorted(path.name for path in root.glob("*" + suffix))
        return {"image": names, "smile": [name.startswith("s") for name in names]}

    datasets.register("toy", read)


@pytest.mark.usefixtures("toy")
def test_a_registered_reader_is_one_like_the_others(lay):
    dataset = datasets.load("toy", lay(["s.jpg", "f.jpg", "x.png"]), suffix=".jpg")
    assert dataset.faces["face_id"].tolist() == ["toy:f.jpg", "toy:s.jpg"]
    assert dataset.faces["smile"].tolist() == ["no", "yes"] and dataset.left_out.empty
    assert dataset.reader["name"] == "toy" and dataset.reader["options"] == {"suffix": ".jpg"}
    assert datasets.options("toy") == {"suffix": ".jpg"} and "toy" in set(datasets.list()["name"])
    with pytest.raises(datasets.DatasetError, match="suffix=3; it must be a text"):
        datasets.load("toy", dataset.root, suffix=3)


@pytest.mark.usefixtures("toy")
def test_a_reader_that_returns_no_columns_and_a_taken_name_are_refused(lay):
    datasets.register("broken", lambda root: ["a.jpg"])
    with pytest.raises(datasets.DatasetError, match="returned list; expected a Dataset, or columns"):
        datasets.load("broken", lay([]))
    for name in ("csv", "two words"):
        with pytest.raises(datasets.DatasetError, match="allowed is an identifier that is none of"):
            datasets.register(name, lambda root: {})


def test_the_label_of_a_page_names_the_folders_unless_an_option_does():
    assert datasets.with_label("image_folder", {}, "smile") == {"label": "smile"}
    assert datasets.with_label("image_folder", {"label": "mood"}, "smile") == {"label": "mood"}
    assert datasets.with_label("utkface", {}, "age") == {}


def test_what_must_be_known_first_is_a_warning(lay):
    names = [f"20_0_0_2017011617452{i:04}.jpg" for i in range(8)]
    assert datasets.load("utkface", lay(names)).warnings == []
    several = datasets.load("utkface", lay([*names, "x.jpg", "a.txt", "b.txt"])).warnings
    assert several == [
        "3 of 11 files or rows were left out (27%), most of them (2) for the reason 'not a picture'"
    ]
    assert "0 faces: is this UTKFace" in datasets.load("utkface", lay(["x.jpg"])).warnings[1]
    rows = "".join(f"{i}.jpg,{'someone' if i < 20 else f'p{i}'}\n" for i in range(30))
    files = {"faces.csv": "image,identity\n" + rows} | {f"{i}.jpg": b"" for i in range(30)}
    assert "the person 'someone' has 20 of 30 faces" in datasets.load("csv", lay(files)).warnings[0]


def test_importing_the_readers_does_not_import_tensorflow():
    code = "import sys, faceworkbook.datasets as d; d.list(); print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


LAID = {
    "adience": "fold_frontal_0_data.txt",
    "aflw": "aflw.sqlite",
    "agegender_cleaned": "combined/aligned/25_F/nm0000545_rm4094803712_1945-7-26_2010.jpg",
    "csv": "labels.tsv",
    "expw": "label.lst",
    "fairface": "fairface_label_val.csv",
    "ferplus": "fer2013.csv",
    "fgnet": "images/001A43b.JPG",
    "genki4k": "files/file0001.jpg",
    "image_folder": "woman/1.jpg",
    "imdb_wiki": "wiki_crop/wiki.mat",
    "sfew": "Train_Aligned_Faces/Angry/Airheads_000519240_00000005.png",
    "synthetic": "images/person0000_0.jpg",
    "utkface": "UTKFace/39_0_1_20170116174525125.jpg.chip.jpg",
}


@pytest.mark.parametrize("name", LAID)
def test_a_folder_is_recognised_by_the_names_of_its_files(lay, name):
    root = lay([LAID[name], "notes.txt"])
    assert datasets.recognise(root) == {name: root}


def test_a_folder_of_folders_names_where_each_set_lies(lay):
    root = lay([f"sets/{name}/{LAID[name]}" for name in ("fgnet", "expw")])
    assert datasets.recognise(root / "sets") == {name: root / "sets" / name for name in ("fgnet", "expw")}
    assert datasets.recognise(lay([])) == {}


def test_another_data_set_at_the_root_is_named(lay):
    root = lay([LAID["fgnet"]])
    asked = f"is this fgnet? Then give dataset=fgnet, root={root}"
    assert f"0 faces: {asked}" in datasets.load("utkface", root).warnings
    with pytest.raises(datasets.DatasetError, match=r"missing: label\.lst"):
        datasets.load("expw", lay(["a.txt"]))
    with pytest.raises(datasets.DatasetError, match=r"is this fgnet\? Then give dataset=fgnet"):
        datasets.load("expw", root)
    assert any(asked in sentence for sentence in datasets.load("image_folder", root).warnings)


def test_a_label_that_many_faces_lost_is_warned_of(lay):
    text = "image,gender\n" + "".join(f"{i}.jpg,{'male' if i else 'mole'}\n" for i in range(5))
    dataset = datasets.load("csv", lay({"faces.csv": text} | {f"{i}.jpg": b"" for i in range(5)}))
    assert dataset.warnings == [
        "1 of 5 faces lost a label for the reason 'bad value in gender': see the table of what was noticed"
    ]


@pytest.mark.parametrize(("people", "warned"), [("00000ab", True), ("00abcd", False), ("0000111", False)])
def test_an_identity_that_may_stand_for_nobody_is_warned_of(lay, people, warned):
    text = "image,identity\n" + "".join(f"{i}.jpg,{who}\n" for i, who in enumerate(people))
    dataset = datasets.load("csv", lay({"faces.csv": text} | {f"{i}.jpg": b"" for i in range(len(people))}))
    assert any("the person '0'" in sentence for sentence in dataset.warnings) == warned


@pytest.mark.parametrize(
    ("name", "holds", "lacks"),
    [
        ("adience", {"age_group", "tilt", "age_text"}, {"race"}),
        ("expw", {"emotion", "confidence"}, {"seven", "gender"}),
        ("fairface", {"race", "service_test"}, {"seven", "emotion"}),
        ("aflw", {"yaw", "yaw_bin"}, {"five", "bins"}),
        ("genki4k", {"smile", "pitch"}, {"age"}),
    ],
)
def test_the_names_of_labels_are_columns_and_no_words_of_their_description(name, holds, lacks, tmp_path):
    names = set(datasets.label_names(name, tmp_path, {}))
    assert holds <= names and not lacks & names


def test_a_misspelt_data_set_is_answered_with_the_nearest(tmp_path):
    with pytest.raises(datasets.DatasetError, match="Did you mean 'fairface'"):
        datasets.load("FairFce", tmp_path)


@pytest.mark.parametrize("name", ["identity_folder", "image_folder"])
def test_where_all_is_links_out_of_the_root_the_option_is_named(lay, name):
    root = lay([])
    (root / "a").symlink_to(lay(["1.jpg"]))
    with pytest.raises(datasets.DatasetError, match=r"link out of the root 1: .*'links: anywhere'"):
        datasets.load(name, root)
    assert len(datasets.load(name, root, links="anywhere").faces) == 1


def test_a_published_set_of_links_out_of_the_root_says_so(lay):
    root = lay([])
    (root / "1_0_0_20170116174525120.jpg").symlink_to(lay(["1.jpg"]) / "1.jpg")
    with pytest.raises(datasets.DatasetError, match="link out of the root 1: copy the files below the root"):
        datasets.load("utkface", root)


@pytest.mark.parametrize("linked", ["files", "folders in it"])
def test_a_published_set_whose_pictures_are_links_out_of_the_root_says_what_to_do(lay, linked):
    header, names = "file,age,gender,race,service_test\n", {"train": "train/a/1.jpg", "val": "val/a/1.jpg"}
    root = lay(
        {f"fairface_label_{s}.csv": f"{header}{name},3-9,Male,White,True\n" for s, name in names.items()}
    )
    store = lay(names.values())
    for subset, name in names.items():
        link, target = (
            (root / name, store / name) if linked == "files" else (root / subset / "a", store / subset / "a")
        )
        link.parent.mkdir(parents=True)
        link.symlink_to(target)
    dataset = datasets.load("fairface", root)
    assert sorted(dataset.left_out["image"]) == sorted(names.values())
    assert set(dataset.left_out["reason"]) == {"link out of the root"}
    with pytest.raises(
        datasets.DatasetError, match=r"0 faces; 2 of 2 .* 'link out of the root': copy the files"
    ):
        dataset.need_faces()


def test_a_set_of_no_faces_says_why_and_names_the_first(lay):
    table = "file,age,gender,race,service_test\n"
    root = lay(
        {"fairface_label_train.csv": f"{table}train/1.jpg,3-9,Male,White,\n", "fairface_label_val.csv": table}
    )
    with pytest.raises(
        datasets.DatasetError, match=r"laid out as distributed.*'no picture'.*The first: train/1\.jpg"
    ):
        datasets.load("fairface", root).need_faces()
