# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Checks at `import vicmae` that the installed packages fit together, so it must be cheap.

Only the metadata that pip left beside the packages is read, nothing heavy is imported, and there is
no table of versions to keep up to date: torchvision's own metadata says to which torch it belongs.
`vicmae.health.doctor` looks closer, by importing and using everything.
"""

from __future__ import annotations

import importlib
import platform
import re
import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from vicmae.errors import EnvironmentFault

if TYPE_CHECKING:
    from importlib.metadata import Distribution

# Distribution -> the module that it installs. `requirements/runtime.txt` has the same names (a test
# compares them), plus decord, without which other libraries read the videos.
REQUIRED = {
    'torch': 'torch',
    'torchvision': 'torchvision',
    'onedl-mmengine': 'mmengine',
    'onedl-mmcv': 'mmcv',
    'onedl-mmpretrain': 'mmpretrain',
    'numpy': 'numpy',
    'einops': 'einops',
    'pillow': 'PIL',
    'opencv-python': 'cv2',
    'rich': 'rich',
    'matplotlib': 'matplotlib',
    'jinja2': 'jinja2',
    'braceexpand': 'braceexpand',
    'fsspec': 'fsspec',
    'aiohttp': 'aiohttp',
    'webdataset': 'webdataset',
    'filelock': 'filelock',
    'safetensors': 'safetensors',
    'av': 'av',
}
# What reads videos besides av, all of it optional.
VIDEO_READERS = ('decord', 'torchcodec')

# Maintained fork -> the older distributions that write the same import folder.
SUPERSEDED = {
    'onedl-mmengine': ('mmengine', 'mmengine-lite'),
    'onedl-mmcv': ('mmcv', 'mmcv-full', 'mmcv-lite'),
    'onedl-mmpretrain': ('mmpretrain',),
}

SearchPath = Sequence[str] | None


@dataclass(frozen=True)
class Fault:
    """Something in the environment that doesn't work, or is about to fail.

    Args:
        what: What is wrong, in one line.
        found: The distributions and versions that were found.
        fix: The command that fixes it.
        proof: Module whose failing import proves the fault. Without one the metadata is proof.
    """

    what: str
    found: str
    fix: str
    proof: str | None = None


def runs_as_command() -> bool:
    """Whether Python was started as `vicmae` or as `python -m vicmae`.

    `sys.argv[0]` is '-m' while Python looks for the module to run, importing the package around it.
    """
    program = Path(sys.argv[0]).stem if sys.argv else ''
    return program == 'vicmae' or (program == '-m' and 'vicmae' in sys.orig_argv)


def check_environment(path: SearchPath = None) -> None:
    """Raise one error that lists all proven faults.

    Args:
        path: Folders to look in, as in `sys.path`, which is the default.

    Raises:
        EnvironmentFault: There is at least one.
    """
    faults = [fault for fault in find_faults(path) if is_proven(fault)]
    if faults:
        raise EnvironmentFault(describe(faults))


def find_faults(path: SearchPath = None) -> list[Fault]:
    """List all faults that the metadata of the installed distributions shows.

    Args:
        path: Folders to look in, as in `sys.path`, which is the default.
    """
    return [
        *find_superseded(path),
        *find_torch_mismatch(path),
        *find_missing(path),
    ]


def is_proven(fault: Fault) -> bool:
    """Whether a fault is more than a suspicion: what it names as proof fails to import."""
    return fault.proof is None or import_error(fault.proof) is not None


def import_error(module: str) -> Exception | None:
    """Import a module and return the error that this raised, if any."""
    try:
        imported = importlib.import_module(module)
    # A compiled extension that doesn't fit raises RuntimeError, OSError or whatever it likes.
    except Exception as error:
        return error
    if getattr(imported, '__file__', None) is None:
        # An uninstalled package may leave a folder behind, which Python imports without complaint.
        return ImportError(f'the files of {module!r} are gone, only a folder is left')
    return None


def describe(faults: Iterable[Fault]) -> str:
    """Write faults as one message, each with what was found and the command that fixes it."""
    lines = ['vicmae cannot work with the packages that are installed here:']
    for number, fault in enumerate(faults, start=1):
        lines += [f'{number}. {fault.what}', f'   found: {fault.found}', f'   fix:   {fault.fix}']
    lines += [
        'In a checkout of vicmae, `make setup` makes a .venv in which everything fits together.',
        '`vicmae doctor` checks this machine.',
    ]
    return '\n'.join(lines)


def find_superseded(path: SearchPath = None) -> list[Fault]:
    """Find OpenMMLab's own packages where their maintained forks should be.

    Both write the same import folder, so whichever came last is imported, under the other's version
    number; and mmengine 0.10.7 can't resume a run with torch 2.6 or newer.
    """
    old, forks, absent = [], [], []
    for fork, names in SUPERSEDED.items():
        present = [dist for name in names if (dist := installed(name, path))]
        if present:
            old += present
            fork_dist = installed(fork, path)
            forks += [fork_dist] if fork_dist else []
            absent += [] if fork_dist else [fork]
    if not old:
        return []
    # Removing the old distribution deletes the folder that it shares with the fork.
    steps = [pip('uninstall -y', *(dist.name for dist in old)), *reinstall(forks), *install(absent)]
    what = "OpenMMLab's own packages are installed, and write the same import folders as the forks"
    return [Fault(what, named([*old, *forks]), ' && '.join(steps))]


def find_torch_mismatch(path: SearchPath = None) -> list[Fault]:
    """Find a torch without its torchvision, or the other way round, or two that aren't a pair."""
    torch, vision = installed('torch', path), installed('torchvision', path)
    if torch and vision:
        return _find_wrong_pair(torch, vision)
    if torch:
        what = 'torch is installed without its torchvision'
        return [Fault(what, named([torch]), install_torchvision_for(torch))]
    if vision:
        wanted = required_torch(vision)
        requirement = f'torch=={wanted}' if wanted else 'torch'
        fix = pip('install', requirement, *index_options(split_version(vision.version)[1]))
        return [Fault('torchvision is installed without its torch', named([vision]), fix)]
    return []


def _find_wrong_pair(torch: Distribution, vision: Distribution) -> list[Fault]:
    release, build = split_version(torch.version)
    vision_release, vision_build = split_version(vision.version)
    wanted = required_torch(vision)
    found = named([torch, vision])
    if wanted and wanted != release:
        what = f'torchvision {vision.version} belongs to torch {wanted}'
        return [Fault(what, found, install_torchvision_for(torch), proof='torchvision')]
    if build != vision_build and 'cpu' in (build, vision_build):
        what = 'torch and torchvision are different builds, one of them for CPUs alone'
        requirement = f'torchvision=={vision_release}' + (f'+{build}' if build else '')
        fix = pip('install --force-reinstall --no-deps', requirement, *index_options(build))
        return [Fault(what, found, fix, proof='torchvision')]
    return []


def install_torchvision_for(torch: Distribution) -> str:
    """The command that installs the torchvision which belongs to the torch that is there.

    pip finds it: each torchvision requires exactly one release of torch.
    """
    options = index_options(split_version(torch.version)[1])
    return pip('install', 'torchvision', f'torch=={torch.version}', *options)


def required_torch(vision: Distribution) -> str | None:
    """The release of torch that a torchvision was built with, from its metadata.

    None where torchvision was built from source without naming one.
    """
    for requirement in vision.requires or []:
        match = re.match(r'torch\s*\(?\s*==\s*([^\s;,)]+)', requirement)
        if match:
            return split_version(match[1])[0]
    return None


def split_version(version: str) -> tuple[str, str]:
    """Split '2.12.1+cpu' into the release and the label of its build, which may be empty."""
    release, _, build = version.partition('+')
    return release, build


def index_options(build: str) -> list[str]:
    """The pip options under which PyTorch offers builds with this label.

    None without a label, and none for the labels of others, such as NVIDIA's containers.
    """
    offered = re.fullmatch(r'cpu|xpu|cu\d+|rocm[\d.]+', build)
    return ['--index-url', f'https://download.pytorch.org/whl/{build}'] if offered else []


def find_missing(path: SearchPath = None) -> list[Fault]:
    """Find required packages that can't be imported.

    Torch and torchvision are left to `find_torch_mismatch` unless both are missing, and a fork
    whose place an older package has taken is left to `find_superseded`.
    """
    one_of_pair = bool(installed('torch', path)) != bool(installed('torchvision', path))
    absent, gone = [], []
    for name, module in REQUIRED.items():
        left_to_others = (one_of_pair and name in ('torch', 'torchvision')) or any(
            installed(old, path) for old in SUPERSEDED.get(name, ())
        )
        if left_to_others or is_importable(module, path):
            continue
        dist = installed(name, path)
        if dist:
            gone.append(dist)
        else:
            absent.append(name)
    faults = []
    if absent:
        what = 'required packages are not installed'
        faults.append(Fault(what, f'no {", ".join(absent)}', install(absent)[0]))
    if gone:
        what = 'packages are registered as installed, but their files are gone'
        faults.append(Fault(what, named(gone), reinstall(gone)[0]))
    return faults


def missing_reader(name: str, error: Exception) -> EnvironmentFault:
    """The error for a library that was asked to read videos and can't be imported.

    Args:
        name: One of `VIDEO_READERS`.
        error: What importing it raised.
    """
    fails = f'importing it fails: {error}' if is_importable(name) else 'it is not installed'
    return EnvironmentFault(
        f'{name} cannot read videos here: {fails}. Take another reader, or get it: {fix_reader(name)}'
    )


def fix_reader(name: str) -> str:
    """What to do for a library that reads videos to work.

    Args:
        name: One of `VIDEO_READERS`.
    """
    if name == 'torchcodec':
        versions = 'https://github.com/meta-pytorch/torchcodec#installing-torchcodec'
        ffmpeg = 'FFmpeg with its shared libraries (apt-get install ffmpeg)'
        return f'{ffmpeg}, and the release that belongs to this torch, see {versions}'
    if not decord_has_wheel(sys.platform, platform.machine()):
        return 'it has wheels for Linux and Windows on x86-64 alone'
    dist = installed(name)
    return (reinstall([dist]) if dist else install([name]))[0]


def decord_has_wheel(system: str, machine: str) -> bool:
    """Whether pip can install decord: same condition as the marker in `requirements/runtime.txt`.

    Args:
        system: As `sys.platform` names it.
        machine: As `platform.machine()` names it.
    """
    return (system, machine) in (('linux', 'x86_64'), ('win32', 'AMD64'))


def installed(name: str, path: SearchPath = None) -> Distribution | None:
    """The distribution of this name that comes first in the search path."""
    # Imported here: this is half the time of `vicmae --help`, which asks for no distribution.
    from importlib.metadata import distributions

    return next(iter(distributions(name=name, path=sys.path if path is None else list(path))), None)


def is_importable(module: str, path: SearchPath = None) -> bool:
    """Whether a module's file is there. What an uninstalled package left over doesn't count."""
    # Only the former knows packages that are installed in editable mode, through an import hook.
    spec = find_spec(module) if path is None else PathFinder.find_spec(module, path)
    return spec is not None and spec.origin is not None


def named(dists: Iterable[Distribution]) -> str:
    """Names and versions, for a message."""
    return ', '.join(f'{dist.name} {dist.version}' for dist in dists)


def pip(command: str, *arguments: str) -> str:
    """A pip command line for the Python that is running, which need not be the one on the PATH."""
    return ' '.join([shlex.quote(sys.executable), '-m pip', command, *map(shlex.quote, arguments)])


def install(names: Sequence[str]) -> list[str]:
    """The command that installs distributions, or nothing if there are none."""
    return [pip('install', *names)] if names else []


def reinstall(dists: Sequence[Distribution]) -> list[str]:
    """The command that reinstalls distributions, or nothing if there are none."""
    wanted = [f'{dist.name}=={dist.version}' for dist in dists]
    return [pip('install --force-reinstall --no-deps', *wanted)] if wanted else []
