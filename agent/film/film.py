"""A film of an organism: its environment, its spikes, its membranes, and what it has gained and spent."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from stable_baselines3.common.vec_env import VecEnv

from snn4.agent import kinds
from snn4.agent.errors import BadInput, why
from snn4.agent.evaluation.episodes import TEST_SEED, normalized
from snn4.agent.evaluation.recorder import Recorder
from snn4.agent.film.drawing import frame
from snn4.agent.life.trained import trained_policy
from snn4.agent.models.policies import TrainedPolicy
from snn4.agent.run.journal import CONFIG, require_place, require_run
from snn4.envs.control import UnknownEnvironment
from snn4.policies.metering.meter import Meter

ENERGY = "45nm_fp32_memory"
COLUMNS = 150
"""Inner steps in a raster."""
COLOURS = 64
SUFFIXES = (".gif", ".mp4")


class NoFilm(BadInput):
    """The run cannot be filmed, or the film cannot be written."""


def film(run: Path, out: Path, task: str | None = None, decisions: int = 200, fps: int = 20, seed: int = 0) -> int:
    """Write a film of the organism in ``run`` to ``out``, completely or not at all, and return its number of frames.

    Args:
        run: the folder of a life.
        out: a .gif or .mp4.
        task: the name of one of the life's tasks; None takes the last that it has learned.
        decisions: frames; episodes follow one another until then.
        fps: frames per second.
        seed: of the episodes; the first one is the first test episode.

    Raises:
        NoFilm, ModelError, RunError: no life, no environment that can be drawn, no place, no ffmpeg for .mp4.
    """
    require_run(run)
    require_place(out)
    if out.suffix not in SUFFIXES:
        raise NoFilm(f"{out}: got {out.suffix or 'no ending'}, allowed are {', '.join(SUFFIXES)}")
    if out.suffix == ".mp4" and shutil.which("ffmpeg") is None:
        raise NoFilm(f"{out}: needs the program ffmpeg, which is not on the PATH; install it, or take .gif")
    kind, _ = kinds.load(run / CONFIG)
    if kind.name != "life":
        raise NoFilm(f"{run}: got a {kind.name}, allowed is a life")
    frames = list(_frames(trained_policy(run, task), decisions, TEST_SEED + seed))
    _write(frames, out, fps)
    return len(frames)


def _frames(organism: TrainedPolicy, decisions: int, seed: int) -> Iterator[Image.Image]:
    """Episodes, one after the other, a frame for each decision."""
    env = _visible(organism)
    env.seed(seed)
    observation: Any = env.reset()
    gained, state, start = 0.0, None, np.ones(1, bool)
    try:
        with torch.random.fork_rng(), Recorder(organism.policy, COLUMNS) as recorder, Meter(organism.policy) as meter:
            torch.manual_seed(seed)  # for codes with random spikes
            for number in range(decisions):
                world = env.get_images()[0]
                action, state = organism.policy.predict(observation, state, start, deterministic=True)
                joules = (meter.cost().energy_joules[ENERGY] or 0.0) * (number + 1)
                lines = [
                    f"action {_shown(action[0])}    return {gained:.0f}    {1e9 * joules:,.0f} nJ so far ({ENERGY})"
                ]
                yield frame(world, recorder.rasters, recorder.membranes, COLUMNS, lines)  # type: ignore[arg-type]
                observation, reward, start, _ = env.step(action)
                gained = 0.0 if start[0] else gained + float(reward[0])
    except ValueError as error:
        raise NoFilm(f"{organism.source}: {error}") from error
    finally:
        env.close()


def _visible(organism: TrainedPolicy) -> VecEnv:
    task = organism.task
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame looks for a screen, and complains without one
    kwargs = {**task.kwargs, "render_mode": "rgb_array"}
    allowed = "allowed are environments with render_mode rgb_array"
    try:
        env = dataclasses.replace(task, kwargs=kwargs).make(1)
    except UnknownEnvironment as error:  # the life has made it, but without render_mode
        raise NoFilm(f"{error}; {allowed}") from error
    if env.get_attr("render_mode")[0] != "rgb_array":
        raise NoFilm(f"{task.environment}: cannot be drawn; {allowed}")
    return normalized(env, organism.normalization)


def _shown(action: Any) -> str:
    values = np.asarray(action).ravel()
    return " ".join(f"{value:+.2f}" if values.dtype.kind == "f" else str(value) for value in values[:4])


def _write(frames: list[Image.Image], out: Path, fps: int) -> None:
    partial = out.with_name(f".{out.stem}.partial{out.suffix}")
    try:
        _save(frames, partial, fps)
        partial.replace(out)
    except OSError as error:
        raise NoFilm(f"-o: cannot write {out} ({why(error)}); name another place") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def _save(frames: list[Image.Image], path: Path, fps: int) -> None:
    if path.suffix == ".gif":
        palette = _montage(frames).quantize(COLOURS)  # one for all frames, so that only what moves is stored
        first, *rest = (picture.quantize(COLOURS, palette=palette, dither=Image.Dither.NONE) for picture in frames)
        first.save(path, save_all=True, append_images=rest, duration=round(1000 / fps), loop=0, optimize=False)
        return
    size = f"{frames[0].width}x{frames[0].height}"
    command = ["ffmpeg", "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", str(fps)]
    command += ["-i", "-", "-pix_fmt", "yuv420p", "-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", str(path)]
    done = subprocess.run(command, input=_bytes(frames), capture_output=True, check=False)
    if done.returncode:
        raise NoFilm(f"{path.name}: ffmpeg failed: {done.stderr.decode(errors='replace').strip().splitlines()[-1]}")


def _montage(frames: list[Image.Image]) -> Image.Image:
    """A few frames in one picture, which has the colours of all."""
    chosen = frames[:: max(1, len(frames) // 4)]
    width, height = frames[0].size
    picture = Image.new("RGB", (width, height * len(chosen)))
    for number, one in enumerate(chosen):
        picture.paste(one, (0, height * number))
    return picture


def _bytes(frames: Iterable[Image.Image]) -> bytes:
    return b"".join(picture.tobytes() for picture in frames)
