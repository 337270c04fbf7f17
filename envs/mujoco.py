"""MuJoCo's warnings, which its library would print, and write to MUJOCO_LOG.TXT in the present folder."""

from __future__ import annotations

import warnings


def catch_warnings() -> None:
    """Make them warnings of Python; those on deprecated models, which Gymnasium ships, are left out.

    Raises:
        ModuleNotFoundError: if MuJoCo is not installed.
    """
    import mujoco

    mujoco.set_mju_user_warning(_warn)


def _warn(message: str) -> None:
    if "is deprecated" not in message:
        warnings.warn(f"MuJoCo: {message}", RuntimeWarning, stacklevel=2)
