# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Packaging. Tool settings are in `pyproject.toml`, dependencies in `requirements/`."""

import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent.resolve()

# What OpenMMLab's command line, `mim train vicmae CONFIG`, looks for in the package's `.mim`.
MIM_CONTENT = ('configs', 'tools', 'model-index.yml')


class BuildWithMim(build_py):
    """Ship `configs/`, `tools/` and `model-index.yml` inside the package, as `vicmae/.mim`.

    OpenMMLab's `add_mim_extension` chooses between links and copies by the words in `sys.argv`,
    which aren't there when pip builds (PEP 517 and 660). Here setuptools says it, by `editable_mode`.
    """

    def run(self) -> None:
        """Build the package, then add `.mim`: links for an editable install, else copies."""
        if self.editable_mode:
            super().run()
            link_mim(ROOT / 'vicmae' / '.mim')
            return
        # What an earlier build left in build/ would be shipped, even if it was deleted since.
        package = Path(self.build_lib) / 'vicmae'
        shutil.rmtree(package, ignore_errors=True)
        super().run()
        copy_mim(package / '.mim')


def link_mim(target: Path) -> None:
    """Link to the files of the checkout, so that edits are seen at once."""
    target.mkdir(exist_ok=True)
    for name in MIM_CONTENT:
        link = target / name
        link.unlink(missing_ok=True)
        try:
            link.symlink_to(Path('..', '..', name))
        except OSError as error:
            # Windows without developer mode. vicmae itself finds the checkout without links.
            print(f'warning: {link} cannot be a link ({error}); `mim` will not find {name}')


def copy_mim(target: Path) -> None:
    """Copy the files into the package that is being built."""
    target.mkdir(parents=True)
    for name in MIM_CONTENT:
        source = ROOT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns('__pycache__', '*.py[cod]', '.*')
            shutil.copytree(source, target / name, ignore=ignored)
        else:
            shutil.copy2(source, target / name)


def read_version() -> str:
    """Read the version without importing the package, whose dependencies may be missing."""
    scope: dict[str, str] = {}
    exec((ROOT / 'vicmae' / 'version.py').read_text(encoding='utf-8'), scope)
    return scope['__version__']


def read_requirements(name: str) -> list[str]:
    """Read a file of `requirements/` without its comments."""
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text(encoding='utf-8').splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith('#')]


EXTRAS = {
    name: read_requirements(name)
    for name in ('tests', 'docs', 'optional', 'curves', 'exports', 'features')
}

setup(
    name='vicmae',
    version=read_version(),
    description='Self-supervised pretraining of one vision transformer on images and videos',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    author='the vicmae authors',
    license='Apache-2.0',
    keywords=['self-supervised learning', 'masked autoencoder', 'contrastive learning', 'video'],
    packages=find_packages(include=['vicmae', 'vicmae.*']),
    package_data={'vicmae': ['py.typed', 'visualization/templates/*']},
    python_requires='>=3.11',
    entry_points={'console_scripts': ['vicmae = vicmae.cli.main:main']},
    install_requires=read_requirements('runtime'),
    extras_require={**EXTRAS, 'all': sorted({line for lines in EXTRAS.values() for line in lines})},
    cmdclass={'build_py': BuildWithMim},
    zip_safe=False,
    classifiers=[
        'Development Status :: 3 - Alpha',
        'Intended Audience :: Science/Research',
        'Operating System :: POSIX :: Linux',
        'Programming Language :: Python :: 3',
        'Programming Language :: Python :: 3.11',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
    ],
)
