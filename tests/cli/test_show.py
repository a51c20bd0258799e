# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""`vicmae show`, as a user runs it."""

import os
import subprocess
import sys

import pytest
import torch
from PIL import Image

from vicmae.apis import load_config, load_model
from vicmae.apis.show import WHAT
from vicmae.cli import show
from vicmae.cli.main import main
from vicmae.io.video import open_video

DEBUG = 'vicmae_vit-tiny-p8_debug'
CLIPS = 'vicmae_vit-tiny-p8_clips_debug'
SIMCLR = 'simclr_vit-tiny-p8_debug'


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """Returns a function that saves random weights of a config."""
    folder = tmp_path_factory.mktemp('checkpoints')

    def save(config, name='epoch_1.pth'):
        path = folder / config / name
        path.parent.mkdir(exist_ok=True)
        meta = dict(cfg=load_config(config).pretty_text)
        torch.save(dict(state_dict=load_model(config).state_dict(), meta=meta), path)
        return str(path)

    return save


@pytest.fixture(scope='module')
def files(demo_data):
    picture, *_ = sorted((demo_data / 'images/val').rglob('*.jpg'))
    video, *_ = sorted((demo_data / 'videos/val').rglob('*.mp4'))
    return [str(picture), str(video)]


def refusal(capsys, *arguments):
    """Runs a command that must end with one message, and returns the status and the message."""
    with pytest.raises(SystemExit) as ended:
        main(['show', *map(str, arguments)])
    return ended.value.code, capsys.readouterr().err.splitlines()[-1]


def test_pictures_and_page_of_two_checkpoints(checkpoint, files, tmp_path, capsys):
    out = tmp_path / 'new/show'
    one, two = checkpoint(DEBUG), checkpoint(CLIPS)
    options = ['--compare', two, '--config', DEBUG, CLIPS, '--out', str(out), '--frames', '4']
    main(['show', one, *files, *options])
    assert capsys.readouterr().out.splitlines()[-1] == str(out / 'index.html')
    stem = os.path.splitext(os.path.basename(files[0]))[0]
    names = {path.name for path in out.iterdir()}
    assert len(names) == 9
    page = (out / 'index.html').read_text('utf-8')
    for label in (f'{DEBUG}/epoch_1.pth', f'{CLIPS}/epoch_1.pth'):
        assert f'>{label}</span>' in page
    for what in WHAT:
        (picture,) = out.glob(f'{what}-01-*{stem}.png')
        assert min(Image.open(picture).size) >= 160
        (film,) = [path for path in out.glob(f'{what}-02-*') if path != picture]
        if what == 'nearest':
            assert film.suffix == '.png'
        else:
            with open_video(str(film)) as video:
                assert video.num_frames == 4


def test_config_is_by_default_that_of_each_checkpoint(checkpoint, files, tmp_path):
    one, two = checkpoint(DEBUG), checkpoint(CLIPS)
    options = [*files, '--compare', two, '--what', 'pca', 'reconstruction']
    main(['show', one, *options, '--out', str(tmp_path / 'stored')])
    main(['show', one, *options, '--out', str(tmp_path / 'named'), '--config', DEBUG, CLIPS])
    names = sorted(path.name for path in (tmp_path / 'named').iterdir())
    assert sorted(path.name for path in (tmp_path / 'stored').iterdir()) == names
    for name in set(names) - {'index.html'}:
        stored, named = (tmp_path / folder / name for folder in ('stored', 'named'))
        assert stored.read_bytes() == named.read_bytes()


def test_options_without_a_config_are_refused(checkpoint, files, tmp_path, capsys):
    options = ['--out', tmp_path / 'out', '--cfg-options', 'image_size=64']
    status, message = refusal(capsys, checkpoint(DEBUG), *files, *options)
    assert status == 2
    assert '--cfg-options changes a config: give --config, too' in message


def test_choices_are_those_of_the_function():
    assert show._WHAT == WHAT


def test_nothing_is_left_behind_by_an_input_that_is_no_picture(checkpoint, files, tmp_path, capsys):
    text = tmp_path / 'notes.txt'
    text.write_text('no picture')
    out = tmp_path / 'out'
    path = checkpoint(DEBUG)
    status, message = refusal(capsys, path, *files, text, '--config', DEBUG, '--out', out)
    assert status == 1
    assert message.startswith(f"error: Can't read the image '{text}': its format is unknown")
    assert not out.exists()


def test_decoder_that_a_checkpoint_lacks_is_refused(checkpoint, files, tmp_path, capsys):
    out = tmp_path / 'out'
    options = ['--config', SIMCLR, '--what', 'pca', 'reconstruction', '--out', out]
    status, message = refusal(capsys, checkpoint(SIMCLR), *files, *options)
    assert (status, out.exists()) == (1, False)
    assert message == (
        'error: epoch_1.pth: This SimCLR has no `neck`, so it cannot reconstruct patches.'
    )


def test_folder_that_cannot_be_written_is_refused(checkpoint, files, tmp_path, capsys):
    (tmp_path / 'file').touch()
    out = tmp_path / 'file/out'
    status, message = refusal(capsys, checkpoint(DEBUG), *files, '--config', DEBUG, '--out', out)
    assert status == 1
    assert (
        message == f"error: Can't write to `--out` '{out}': Not a directory. Choose another folder."
    )


def test_picture_that_cannot_be_replaced_is_refused(checkpoint, files, tmp_path, capsys):
    (tmp_path / 'index.html').mkdir()
    options = ['--config', DEBUG, '--what', 'pca', '--out', tmp_path]
    status, message = refusal(capsys, checkpoint(DEBUG), *files, *options)
    assert status == 1
    assert message == (
        f"error: Can't write to `--out` '{tmp_path}': Is a directory. Choose another folder."
    )
    assert not list(tmp_path.glob('*.unfinished'))


@pytest.mark.parametrize(
    ('options', 'status', 'message'),
    [
        (['--frames', '0'], 2, "argument --frames: must be a number of at least 1, got '0'"),
        (['--number', 'x'], 2, "argument --number: must be a number of at least 1, got 'x'"),
        (['--point', '0.5', '2'], 2, "argument --point: must be from 0 to 1, got '2'"),
        (['--what', 'pac'], 2, "argument --what: invalid choice: 'pac'"),
        (['--config', DEBUG, CLIPS], 2, '--config takes one config for all checkpoints'),
        (['--device', 'abacus'], 1, "error: `--device` 'abacus' can't be used: "),
        (['--compare', '/no/b.pth'], 1, "error: The checkpoint '/no/b.pth' does not exist."),
    ],
)
def test_error_of_a_user_ends_in_one_message(
    checkpoint, files, tmp_path, capsys, options, status, message
):
    begin = [checkpoint(DEBUG), *files, '--config', DEBUG, '--out', tmp_path / 'out']
    code, last = refusal(capsys, *begin, *options)
    assert code == status
    assert message in last
    assert not (tmp_path / 'out').exists()


def test_importing_the_command_imports_nothing_heavy():
    code = 'import sys, vicmae.cli.show; print([m for m in ("torch", "numpy") if m in sys.modules])'
    run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert run.stdout == '[]\n'
