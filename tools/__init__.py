"""Programs that were needed once: how the embedded weights were made."""
