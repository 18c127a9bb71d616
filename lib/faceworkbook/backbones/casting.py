"""A network that computes in another precision than its weights are kept in."""

from __future__ import annotations


def cast(model, policy: str):
    """Return a copy of a Keras model that computes under `policy`.

    Parameters
    ----------
    model : keras.Model
    policy : str
        Of Keras: 'mixed_float16' and 'mixed_bfloat16' keep weights in float32 and compute in 16 bits; batch normalisation,
        whose statistics need it, computes in float32.
    """
    import keras

    def copy(layer):
        return layer.__class__.from_config({**layer.get_config(), "dtype": policy})

    lower = keras.models.clone_model(model, clone_function=copy)
    lower.set_weights(model.get_weights())
    return lower
