"""``start``: a step that begins with the model of another run, on the same inputs and without having seen its test faces.

A step that fits a model writes down what that model reads and which files hold it (``trained_on.json``) and every face that it has learned or
chosen from, those of its own start among them (``trained_on.parquet``). Whoever starts from it compares both with its
own: other inputs are refused, and so is a model that has seen a tested person or picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from faceworkbook import faces as face_table
from faceworkbook import files, project, row_groups
from faceworkbook.backbones import UNTRAINED, several
from faceworkbook.experiments import overlap
from faceworkbook.landmarks import AlignOptions
from faceworkbook.reports.described import NETWORK
from faceworkbook.reports.runs import DESCRIPTORS, Run, RunError

if TYPE_CHECKING:  # the second imports Keras
    from faceworkbook.backbones import Backbone
    from faceworkbook.experiments.multi_dataset import MultiDataset
    from faceworkbook.models.multitask import MultitaskNet

RECORD, TRAINED_ON = "trained_on.json", "trained_on.parquet"
PREDICTOR = "predictor"
STARTING = ("mlp", "residual_mlp")  # classifiers whose layers can be taken over
PICTURES = "pictures"
# What two descriptors, or the pictures of two networks, have in common that mean the same.
SAME = {
    NETWORK: ("network", "tap", "mirror", "weights_sha256", "preprocessing", "alignment", "precision", "dim"),
    PICTURES: ("network", "cut", "weights_sha256", "preprocessing", "alignment"),
}
AT_RANDOM = "The weights begin at random."
_KINDS = {NETWORK: "descriptors", PICTURES: "pictures"}
_COLUMNS = ["face_id", "dataset", "identity", "image", *face_table.BOX]
_PICTURE = ["image", *face_table.BOX]
_START, _HERE = "start", "here"


class StartError(RunError):
    """A model that a step cannot start from; the text says what does not fit and what to do."""


@dataclass(frozen=True, eq=False)
class Start:
    """What the model of a step begins with: the model of another run, or random weights.

    Attributes
    ----------
    given : str
        The parameter; empty for a random start.
    folder : path
        Of the other run.
    file : path, optional
        The one of its networks that was named.
    inputs : list of dict
        What the step's model reads, a record a block of columns; the other one reads the same.
    faces : pandas.DataFrame
        The faces that the other model has learned or chosen from; ``image`` are whole paths.
    checked : str
        What was compared, in a sentence.
    """

    given: str
    folder: Path
    inputs: list
    faces: pd.DataFrame
    checked: str = AT_RANDOM
    file: Path | None = None

    def net(self):
        """Return the network with heads that the run names, see `faceworkbook.training.starting.SavedNet`; None for none.

        Raises
        ------
        StartError
            The run holds no network with heads, or several and none is named.
        """
        if not self.given:
            return None
        import keras

        from faceworkbook.training.starting import SavedNet

        heads = files.read_json(self.folder / RECORD, StartError, advice="run that step again").get(
            "heads", {}
        )
        names = sorted(heads)
        if not names:
            raise StartError(
                f"start={self.given}: {project.shorten(self.folder)} holds no network with heads; give a run of 09_multitask "
                "(descriptors), or of 10_fine_tune or 19_picture_tasks (pictures)"
            )
        if self.file is None and len(names) > 1:
            raise StartError(
                f"start={self.given}: it holds {len(names)} networks, {names}; name the file of one, such as "
                f"{project.shorten(self.folder / names[0])}"
            )
        name = names[0] if self.file is None else self.file.name
        if name not in heads:
            raise StartError(f"start={self.given}: {name} is none of its networks, {names}; name one of them")
        return SavedNet(keras.models.load_model(self.folder / name, compile=False), heads[name])

    def write_several(self, run: Run, multi: MultiDataset, rows: np.ndarray, *, nets: Mapping) -> None:
        """Write down the same of nets that have learned from `rows` of several data sets; see `write`."""
        faces, of = _with_either_name(multi)
        self.write(run, faces, np.flatnonzero(np.isin(of, rows)), root="/", nets=nets)

    def options(self, classifier) -> dict:
        """Return the option ``start`` of `faceworkbook.training.fit` for this classifier; none for a random start.

        Raises
        ------
        StartError
            A classifier that is no network of this workbook, or another one than the other run's.
        """
        if not self.given:
            return {}
        if classifier not in STARTING:
            raise StartError(
                f"start={self.given} and classifier={classifier!r}: allowed are {list(STARTING)}; leave start empty, or name "
                "one of them"
            )
        fitted = self._fitted()
        if fitted.settings.get("classifier") != classifier:
            raise StartError(
                f"start={self.given}: its model is {fitted.describe()}, and classifier={classifier!r}; name the same one"
            )
        return {"start": fitted}

    def _fitted(self):
        from faceworkbook import training

        holding = [
            place for place in (self.folder, self.folder / "model") if (place / "model.json").is_file()
        ]
        if not holding:
            raise StartError(
                f"start={self.given}: {project.shorten(self.folder)} holds no classifier on descriptors; give a run of "
                "03_classifier or 06_cross_validation"
            )
        try:
            return training.load(holding[0])
        except ValueError as error:
            raise StartError(f"start={self.given}: {error}") from error

    def write(
        self,
        run: Run,
        faces: pd.DataFrame,
        rows: np.ndarray,
        *,
        root: str | Path,
        nets: Mapping[str, MultitaskNet] = MappingProxyType({}),
    ) -> None:
        """Write down what a run's model reads and which faces it has seen, for those that start from it.

        Parameters
        ----------
        faces : pandas.DataFrame
        rows : ndarray of int
            Training and validation rows. What the start has seen is seen by the model too.
        root : path
            Folder that the ``image`` paths are relative to.
        nets : mapping of str to MultitaskNet
            By file's name, the networks with heads that the run has written.
        """
        own = faces.iloc[np.unique(rows)].reset_index(drop=True)[_COLUMNS]
        own["image"] = [project.shorten(project.resolve(root) / image) for image in own["image"]]
        before = self.faces.assign(image=[project.shorten(path) for path in self.faces["image"]])
        own = pd.concat([own, before.astype(own.dtypes)], ignore_index=True)
        own = own.drop_duplicates(["image", *face_table.BOX, "identity"], ignore_index=True)
        run.save_table(own, TRAINED_ON.removesuffix(".parquet"))
        heads = {name: {head.name: head.to_record() for head in net.heads} for name, net in nets.items()}
        record = {"inputs": self.inputs, "start": self.given, "models": _hash_models(run.folder)}
        record |= {"heads": heads} if heads else {}
        run.save_values(record, RECORD.removesuffix(".json"))


def begin(run: Run, given: str, faces: pd.DataFrame, *, tested: np.ndarray) -> Start:
    """Open the start of a step that learns from the descriptors of 02_descriptors; see `open_start`, `check`.

    Parameters
    ----------
    run : Run
    given : str
    faces : pandas.DataFrame
        Those that have a descriptor.
    tested : ndarray of int
        Rows that are tested.
    """
    return begin_reading(
        run, given, inputs_of(run), faces=faces, root=project.resolve(run.data().root), tested=tested
    )


def begin_reading(
    run: Run,
    given: str,
    inputs: Sequence[Mapping],
    *,
    faces: pd.DataFrame,
    root: str | Path,
    tested: np.ndarray,
) -> Start:
    """Open the start of a step whose model reads `inputs`, see `open_start`, and `check` it.

    Parameters
    ----------
    root : path
        Folder that the ``image`` paths of `faces` are relative to.
    """
    start = open_start(given, inputs)
    if given and start.folder == run.folder:
        raise StartError(
            f"start={given} is the folder that this step writes anew; give the run of another experiment, or this one "
            "another name"
        )
    return check(start, faces, root, tested=tested)


def begin_several(
    run: Run, given: str, inputs: Sequence[Mapping], multi: MultiDataset, *, tested: np.ndarray
) -> Start:
    """Open the start of a step that learns from several data sets, see `begin_reading`; `tested` are rows of `multi`."""
    faces, rows = _with_either_name(multi)
    places = np.flatnonzero(np.isin(rows, tested))
    return begin_reading(run, given, inputs, faces=faces, root="/", tested=places)


def _with_either_name(multi: MultiDataset) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the faces, again below them those whose person bears another name in the own set, and the row of each."""
    faces = multi.faces.assign(image=multi.pictures())
    own = multi.people.astype("string")
    renamed = np.flatnonzero((own.notna() & (own != faces["identity"]).fillna(True)).to_numpy(dtype=bool))
    again = faces.iloc[renamed].assign(identity=own.iloc[renamed])
    return pd.concat([faces, again], ignore_index=True), np.r_[np.arange(len(faces)), renamed]


def open_start(given: str, inputs: Sequence[Mapping]) -> Start:
    """Open the run that `given` names.

    Parameters
    ----------
    given : str
        A run's folder, or the predictor's in it; empty for a random start.
    inputs : sequence of mapping
        What the step's own model will read, see `inputs_of`.

    Raises
    ------
    StartError
        No such run, or its model reads other inputs.
    """
    inputs = list(inputs)
    if not given:
        nobody = pd.DataFrame(columns=_COLUMNS)
        return Start("", Path(), inputs, nobody, checked=_describe_own_weights(inputs))
    folder = project.resolve(given)
    file = folder if folder.suffix == ".keras" else None
    folder = folder.parent if file or folder.name == PREDICTOR else folder
    lacking = [name for name in (RECORD, TRAINED_ON) if not (folder / name).is_file()]
    if lacking:
        raise StartError(
            f"start={given}: {project.shorten(folder)} lacks {' and '.join(lacking)}, which say what a model reads and "
            "whom it has seen; give the folder of a run of this version, such as results/EXPERIMENT/03_classifier"
        )
    record = files.read_json(folder / RECORD, StartError, advice="run that step again")
    if record["models"] != _hash_models(folder):
        raise StartError(
            f"start={given}: the model in {project.shorten(folder)} is not the one that {RECORD} speaks of; run that step "
            "again, to its end"
        )
    _compare_inputs(given, record["inputs"], inputs)
    try:
        faces = files.read_parquet(folder / TRAINED_ON)
    except (OSError, ValueError) as error:
        where = project.shorten(folder / TRAINED_ON)
        raise StartError(f"start={given}: {where} is damaged ({error}); run that step again") from error
    faces = faces.assign(image=[str(project.resolve(path)) for path in faces["image"]])
    return Start(given, folder, inputs, faces, file=file)


def _describe_own_weights(inputs: Sequence[Mapping]) -> str:
    """Say what a model begins with that takes over no other run's: a network on pictures may have weights of its own."""
    trained = [
        record
        for record in inputs
        if record.get("kind") == PICTURES and record.get("weights_sha256") != UNTRAINED
    ]
    if not trained:
        return AT_RANDOM
    return f"The network begins with the weights of {trained[0]['network']}, its heads at random."


def _hash_models(folder: Path) -> dict[str, str]:
    paths = [*folder.glob("model*.keras"), *folder.glob("model.json"), *folder.glob("model/model.*")]
    return {path.relative_to(folder).as_posix(): files.hash_file(path) for path in sorted(paths)}


def _compare_inputs(given: str, theirs: list, own: list) -> None:
    kinds = {record.get("kind", NETWORK) for record in (*theirs, *own)}
    if unknown := sorted(kinds - {*SAME}):
        raise StartError(
            f"start={given}: descriptors that were read from a file name no network, nor do points of a face (here {unknown}), "
            "so that it cannot be known whether both models read the same; compute them by a network"
        )
    if len(kinds) > 1:
        there, here = (sorted({record.get("kind", NETWORK) for record in of}) for of in (theirs, own))
        raise StartError(
            f"start={given}: its model reads {_KINDS[there[0]]}, this one {_KINDS[here[0]]}; give a run of a step that "
            "reads the same"
        )
    if len(theirs) != len(own):
        raise StartError(
            f"start={given}: its model reads {len(theirs)} blocks of descriptors, this run has {len(own)}; describe the "
            "faces with the same networks and taps"
        )
    for there, here in zip(theirs, own, strict=True):
        differing = [name for name in SAME[here.get("kind", NETWORK)] if there.get(name) != here.get(name)]
        if differing:
            listed = "; ".join(
                f"{name} {there.get(name)!r} there, {here.get(name)!r} here" for name in differing
            )
            raise StartError(
                f"start={given}: its model reads other inputs ({listed}); describe or cut the faces the same, or start "
                "from another model"
            )


def inputs_of(run: Run) -> list[dict]:
    """Return what a model on the descriptors of 02_descriptors reads, a record a block of columns."""
    align = AlignOptions.from_parameters(run.values(DESCRIPTORS, "params"))
    return [
        {name: record.get(name) for name in ("kind", *SAME[NETWORK])}
        | {"alignment": _describe_alignment(record.get("preprocessing") or {}, align)}
        for record in run.values(DESCRIPTORS)["blocks"]
    ]


def inputs_of_descriptors(
    source: str, *, backbone: str, tap: str, cut: Mapping, align: AlignOptions
) -> list[dict]:
    """Return what a net reads whose faces are described so; see `experiments.describing.describe_with`."""
    if source != NETWORK:
        return [{"kind": source}]
    net = several.open_network(backbone, tap=tap).adjusted(**cut)
    record = {"kind": NETWORK, "tap": net.tap, "mirror": net.mirror, "precision": "float32", "dim": net.dim}
    return [record | _describe_network(net, align)]


def inputs_of_pictures(net: Backbone, align: AlignOptions, *, cut: str) -> list[dict]:
    """Return what a network reads that is trained on pictures, from `net` up to its layer `cut` (empty: its tap)."""
    layer = cut or net.tap_table[net.tap].layer
    return [{"kind": PICTURES, "cut": layer} | _describe_network(net, align)]


def _describe_network(net: Backbone, align: AlignOptions) -> dict:
    preprocessing = net.preprocessing.to_dict()
    return {
        "network": net.name,
        "weights_sha256": net.fingerprint,
        "preprocessing": preprocessing,
        "alignment": _describe_alignment(preprocessing, align),
    }


def _describe_alignment(preprocessing: Mapping, align: AlignOptions) -> dict | None:
    return None if preprocessing.get("align", "none") == "none" else asdict(align)


def check(start: Start, faces: pd.DataFrame, root: str | Path, *, tested: np.ndarray) -> Start:
    """Refuse a start that has seen a person or picture of the `tested` rows; return it with what was compared.

    Bytes of files, perceptual hashes and names of people are compared, and people who share a picture are one.

    Raises
    ------
    StartError
        A tested face shows a person or picture that the model was trained on, or a picture is not there any more.
    """
    if not start.given:
        return start
    missing = [path for path in start.faces["image"] if not Path(path).is_file()]
    if missing:
        raise StartError(
            f"start={start.given}: {len(missing):,} of the {len(start.faces):,} pictures that it was trained on are not "
            f"there any more, the first is {project.shorten(missing[0])}; put them back, or nobody knows whether the tested "
            "faces are among them"
        )
    tested = np.unique(tested)
    here = faces.iloc[tested].reset_index(drop=True)
    trained = start.faces.assign(split=pd.array([pd.NA] * len(start.faces), dtype="string"))
    tables = {_START: trained[[*_COLUMNS, "split"]], _HERE: here[[*_COLUMNS, "split"]]}
    tied = overlap.find(tables, {_START: "/", _HERE: root})
    rows = np.arange(len(here))
    leaking = tied.shared(_HERE, rows, _START, np.arange(len(trained)))
    n_here, n_trained = (len(table.drop_duplicates(_PICTURE)) for table in (here, start.faces))
    if len(leaking):
        leaking = here.loc[leaking].drop_duplicates(_PICTURE).index.to_numpy()
        copies = tied.copies[_HERE][leaking]
        pictures = int(((copies != row_groups.ALONE) & np.isin(copies, tied.copies[_START])).sum())
        raise StartError(
            f"start={start.given} was trained on {len(leaking):,} of the {n_here:,} faces that are tested here or on "
            f"their people ({pictures:,} on the picture itself or a copy), the first is {here['face_id'].iloc[leaking[0]]!r}; "
            "start from a model that has not seen them, or compare in 18_transfer, which removes them first"
        )
    checked = (
        f"The weights begin with those of {start.given}. None of the {n_here:,} tested faces shares a picture (bytes, near "
        f"copies) or a person with the {n_trained:,} faces that it was trained on."
    )
    return replace(start, checked=checked)
