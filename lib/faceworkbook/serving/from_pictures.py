"""What 19_picture_tasks calls to write ``predictor/`` into its run's folder."""

from __future__ import annotations

import numpy as np

from faceworkbook.reports.runs import Run
from faceworkbook.serving.checks import PredictorError
from faceworkbook.serving.from_runs import (
    DESCRIBED,
    align_options,
    describe_run,
    describe_strategy,
    in_a_sentence,
    predict_strategy,
    write,
)
from faceworkbook.serving.making import Ingredients


@in_a_sentence
def of_picture_tasks(run: Run, repeats, multi, network, *, shares) -> str:
    """Write the predictor of 19_picture_tasks: the network of the last seed that reads all labels.

    Parameters
    ----------
    run, repeats, multi, shares
        See `of_multitask`; the data sets hold their pictures.
    network : Backbone
        That was trained.
    """
    from faceworkbook.models import multitask
    from faceworkbook.serving.trunk import write_trunk
    from faceworkbook.training import cutting

    strategy = next((name for name, fitted in repeats.fitted.items() if len(fitted) == 1), None)
    if strategy is None:
        raise PredictorError("no network reads all labels; train by 'joint' or 'alternating' too")
    (fitted,) = repeats.fitted[strategy]
    seed = run.parameters["seed"] + run.parameters["seeds"][: 1 if run.parameters["smoke"] else None][-1]
    split, predicted = predict_strategy([fitted], multi, seed=seed, shares=shares)
    names = tuple(layer.name for layer in fitted.net.model.layers if multitask.MARK not in layer.name)
    trained = cutting.Network(
        fitted.net, names, network.preprocessing, network.name, names[-1], network.fingerprint
    )
    model = multitask.serving_model(fitted.net)
    trunk = write_trunk(trained, model, multi.pixels.take(split.train[:16]))
    rng = np.random.default_rng(seed)
    rows = [np.sort(rng.permutation(of)[:DESCRIBED]) for of in (split.train, split.validation)]
    training, held = (trunk.describe(multi.pixels, of) for of in rows)
    given = Ingredients(
        networks=[trunk.network],
        head=trunk.head,
        predicted=predicted,
        faces=multi.faces.assign(image=multi.pictures()),
        root="/",
        training=training,
        validation=held if len(held) else training,
        trained_on=multi.faces["face_id"].iloc[split.train].tolist(),
        keras={} if trunk.layer is None else {"head.keras": cutting.beyond(model, trunk.layer)},
        made=describe_run(run, data=describe_strategy(multi, strategy, seed)),
        graph=trunk.graph,
        align=align_options(run.parameters),
    )
    return write(run, given, seed=seed, smoke=bool(run.parameters["smoke"]))
