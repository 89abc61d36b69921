"""Every change to a host package, one module each, with the host's version and why it is needed."""


def install() -> None:
    """Make the changes that hold for the whole process."""
    # This package is imported before anybody knows that the hosts are installed.
    from mmentropy.compat.mmcv_extension import install_finder
    from mmentropy.compat.mmcv_hue import turn_hue_backwards
    from mmentropy.compat.mmengine_activation_checkpointing import checkpoint_without_reentry
    from mmentropy.compat.mmengine_checkpoint import install_readers
    from mmentropy.compat.mmengine_config import accept_packages, format_once
    from mmentropy.compat.mmengine_messages import leave_out_messages
    from mmentropy.compat.mmengine_pretrained import install_pretrained
    from mmentropy.compat.mmengine_registry import restrict_registries
    from mmentropy.compat.mmpretrain_imports import import_mmpretrain
    from mmentropy.compat.mmpretrain_models import install_models
    from mmentropy.compat.pillow_ghostscript import decode_no_postscript

    leave_out_messages()
    accept_packages()
    format_once()
    checkpoint_without_reentry()
    install_readers()
    restrict_registries()
    install_pretrained()
    decode_no_postscript()
    turn_hue_backwards()
    install_finder()
    import_mmpretrain()
    install_models()
