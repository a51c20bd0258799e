# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Checks at `import vicmae` that the installed packages are compatible.

The check must be fast: it reads the metadata that pip installed with the packages, and imports nothing
heavy. There is no table of versions to keep up to date: the metadata of torchvision names its torch.
`vicmae.health.doctor` checks more, by importing and using everything.
"""

from __future__ import annotations

import importlib
import platform
import re
import shlex
import sys
from collections.abc import Sequence
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
# Optional packages that read videos. The required one is av.
VIDEO_READERS = ('decord', 'torchcodec')

# Maintained fork -> the older distributions that install into the same folder.
SUPERSEDED = {
    'onedl-mmengine': ('mmengine', 'mmengine-lite'),
    'onedl-mmcv': ('mmcv', 'mmcv-full', 'mmcv-lite'),
    'onedl-mmpretrain': ('mmpretrain',),
}

SearchPath = Sequence[str] | None


@dataclass(frozen=True)
class Fault:
    """A problem of the environment.

    Args:
        what: The problem, in one line.
        found: The distributions and versions concerned.
        fix: The command that fixes it.
        proof: Module that must fail to import for the fault to be real. Without one, the metadata is proof.
    """

    what: str
    found: str
    fix: str
    proof: str | None = None


def runs_as_command() -> bool:
    """Returns whether Python was started as `vicmae` or as `python -m vicmae`.

    `sys.argv[0]` is '-m' while Python looks for the module to run, importing the package around it.
    """
    program = Path(sys.argv[0]).stem if sys.argv else ''
    return program == 'vicmae' or (program == '-m' and 'vicmae' in sys.orig_argv)


def check_environment(path: SearchPath = None) -> None:
    """Raises one `EnvironmentFault` that lists all proven faults in `path`, by default `sys.path`."""
    faults = [fault for fault in find_faults(path) if is_proven(fault)]
    if not faults:
        return
    lines = ['vicmae does not work with the installed packages:']
    for number, fault in enumerate(faults, start=1):
        lines += [f'{number}. {fault.what}', f'   found: {fault.found}', f'   fix:   {fault.fix}']
    lines += [
        'In a checkout of vicmae, `make setup` makes a .venv with compatible packages.',
        '`vicmae doctor` checks this machine.',
    ]
    raise EnvironmentFault('\n'.join(lines))


def find_faults(path: SearchPath = None) -> list[Fault]:
    """Lists all faults that the metadata of the installed distributions shows."""
    return [*_find_superseded(path), *_find_torch_mismatch(path), *_find_missing(path)]


def is_proven(fault: Fault) -> bool:
    """Returns whether a fault is real: by its metadata alone, or since its `proof` fails to import."""
    return fault.proof is None or import_error(fault.proof) is not None


def import_error(module: str) -> Exception | None:
    """Imports a module and returns the error that this raised, if any."""
    try:
        imported = importlib.import_module(module)
    # A compiled extension that doesn't fit may raise any error.
    except Exception as error:
        return error
    if getattr(imported, '__file__', None) is None:
        # An uninstalled package may leave a folder behind, which Python imports without complaint.
        return ImportError(f'the files of {module!r} are missing, only a folder is left')
    return None


def _find_superseded(path: SearchPath) -> list[Fault]:
    """Finds original OpenMMLab packages that shadow their maintained forks.

    Both install into the same folder: the one installed last is imported, possibly with the version
    number of the other. And mmengine 0.10.7 can't resume a run with torch 2.6 or newer.
    """
    old: list[Distribution] = []
    forks: list[Distribution] = []
    absent: list[str] = []
    for fork, names in SUPERSEDED.items():
        present = [dist for name in names if (dist := installed(name, path))]
        old += present
        if present and (dist := installed(fork, path)):
            forks.append(dist)
        elif present:
            absent.append(fork)
    if not old:
        return []
    # Removing the old distribution deletes the folder that it shares with the fork.
    steps = [pip('uninstall -y', *(dist.name for dist in old))]
    if forks:
        steps.append(_reinstall(*forks))
    if absent:
        steps.append(pip('install', *absent))
    problem = (
        'original OpenMMLab packages are installed, in the same folders as the maintained forks'
    )
    return [Fault(problem, _named(*old, *forks), ' && '.join(steps))]


def _find_torch_mismatch(path: SearchPath) -> list[Fault]:
    """Finds a torch without torchvision, a torchvision without torch, or two that don't match."""
    torch, vision = installed('torch', path), installed('torchvision', path)
    if torch and vision:
        return _find_wrong_pair(torch, vision)
    if torch:
        problem = 'torch is installed without torchvision'
        return [Fault(problem, _named(torch), _install_torchvision_for(torch))]
    if vision:
        torch_release = _required_torch(vision)
        requirement = f'torch=={torch_release}' if torch_release else 'torch'
        fix = pip('install', requirement, *_index_options(vision.version))
        return [Fault('torchvision is installed without torch', _named(vision), fix)]
    return []


def _find_wrong_pair(torch: Distribution, vision: Distribution) -> list[Fault]:
    release, _, build = torch.version.partition('+')
    vision_release, _, vision_build = vision.version.partition('+')
    torch_release = _required_torch(vision)
    if torch_release and torch_release != release:
        problem = f'torchvision {vision.version} needs torch {torch_release}'
        fix = _install_torchvision_for(torch)
    elif build != vision_build and 'cpu' in (build, vision_build):
        problem = 'torch and torchvision are different builds, one of them for CPU only'
        requirement = f'torchvision=={vision_release}' + (f'+{build}' if build else '')
        options = _index_options(torch.version)
        fix = pip('install --force-reinstall --no-deps', requirement, *options)
    else:
        return []
    return [Fault(problem, _named(torch, vision), fix, proof='torchvision')]


def _install_torchvision_for(torch: Distribution) -> str:
    # pip chooses the release: each torchvision requires exactly one release of torch.
    return pip('install', 'torchvision', f'torch=={torch.version}', *_index_options(torch.version))


def _required_torch(vision: Distribution) -> str | None:
    """Returns the release of torch that a torchvision was built with, None if its metadata has none."""
    for requirement in vision.requires or []:
        match = re.match(r'torch\s*\(?\s*==\s*([^\s;,)]+)', requirement)
        if match:
            return match[1].partition('+')[0]
    return None


def _index_options(version: str) -> list[str]:
    """Returns the pip options for PyTorch's index of a build, such as that in '2.12.1+cpu'.

    Empty for a version without a build, and for builds of others, such as NVIDIA's containers.
    """
    build = version.partition('+')[2]
    offered = re.fullmatch(r'cpu|xpu|cu\d+|rocm[\d.]+', build)
    return ['--index-url', f'https://download.pytorch.org/whl/{build}'] if offered else []


def _find_missing(path: SearchPath) -> list[Fault]:
    """Finds required packages that can't be imported, except those that another fault covers."""
    one_of_pair = bool(installed('torch', path)) != bool(installed('torchvision', path))
    covered = {'torch', 'torchvision'} if one_of_pair else set()
    for fork, names in SUPERSEDED.items():
        if any(installed(old, path) for old in names):
            covered.add(fork)
    missing = [n for n, m in REQUIRED.items() if n not in covered and not is_importable(m, path)]
    broken = [dist for name in missing if (dist := installed(name, path))]
    absent = [name for name in missing if not installed(name, path)]
    faults = []
    if absent:
        problem = 'required packages are not installed'
        faults.append(Fault(problem, f'no {", ".join(absent)}', pip('install', *absent)))
    if broken:
        problem = 'packages are registered as installed, but their files are missing'
        faults.append(Fault(problem, _named(*broken), _reinstall(*broken)))
    return faults


def missing_reader(name: str, error: Exception) -> EnvironmentFault:
    """Returns the error for one of `VIDEO_READERS` whose import raised `error`."""
    fails = f'importing it fails: {error}' if is_importable(name) else 'it is not installed'
    return EnvironmentFault(
        f'{name} cannot read videos here: {fails}. Use another `reader`, or install it: {fix_reader(name)}'
    )


def fix_reader(name: str) -> str:
    """Returns how to install one of `VIDEO_READERS`."""
    if name == 'torchcodec':
        versions = 'https://github.com/meta-pytorch/torchcodec#installing-torchcodec'
        ffmpeg = 'FFmpeg with its shared libraries (apt-get install ffmpeg)'
        return f'{ffmpeg}, and the release for the installed torch, see {versions}'
    if not decord_has_wheel(sys.platform, platform.machine()):
        return 'it has wheels for Linux and Windows on x86-64 only'
    return fix_package(name)


def decord_has_wheel(system: str, machine: str) -> bool:
    """Returns whether pip can install decord: same condition as the marker in `requirements/runtime.txt`."""
    return (system, machine) in (('linux', 'x86_64'), ('win32', 'AMD64'))


def installed(name: str, path: SearchPath = None) -> Distribution | None:
    """Returns the first distribution of this name in the search path, None if there is none."""
    # Imported here: the import takes half the time of `vicmae --help`, which doesn't need it.
    from importlib.metadata import distributions

    return next(iter(distributions(name=name, path=sys.path if path is None else list(path))), None)


def is_importable(module: str, path: SearchPath = None) -> bool:
    """Returns whether a module has a file. A folder that an uninstalled package left doesn't count."""
    # Only `find_spec` finds packages in editable mode, which are installed through an import hook.
    spec = find_spec(module) if path is None else PathFinder.find_spec(module, path)
    return spec is not None and spec.origin is not None


def _named(*dists: Distribution) -> str:
    return ', '.join(f'{dist.name} {dist.version}' for dist in dists)


def pip(command: str, *arguments: str) -> str:
    """Returns a pip command for the running Python, which may differ from the one on the PATH."""
    return ' '.join([shlex.quote(sys.executable), '-m pip', command, *map(shlex.quote, arguments)])


def fix_package(name: str) -> str:
    """Returns the command that installs a distribution, or reinstalls it."""
    dist = installed(name)
    return _reinstall(dist) if dist else pip('install', name)


def _reinstall(*dists: Distribution) -> str:
    requirements = [f'{dist.name}=={dist.version}' for dist in dists]
    return pip('install --force-reinstall --no-deps', *requirements)
