# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Class folders, flat folders and list files of images and videos."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from vicmae.datasets import ImageFolder, SampleKey, VideoFolder
from vicmae.errors import DataError
from vicmae.structures import NO_LABEL

VIEWS = [
    dict(type='LoadImage'),
    dict(
        type='TwoViews',
        transforms=[dict(type='RandomResizedCrop', size=16), dict(type='RandomFlip')],
    ),
    dict(type='PackViews'),
]


def make_files(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def make_list(path, *lines):
    path.write_text('\n'.join(lines) + '\n', encoding='utf-8')
    return str(path)


def listed(source, root):
    """What a source found: (path below the root, label)."""
    infos = [source.get_data_info(i) for i in range(len(source))]
    return [(str(Path(i['path']).relative_to(root)), i['gt_label']) for i in infos]


def test_sub_folders_are_classes_in_order_of_their_names(tmp_path):
    make_files(tmp_path, 'zebra/1.jpg', 'ant/2.png', 'ant/1.JPEG')
    source = ImageFolder(str(tmp_path))
    assert listed(source, tmp_path) == [('ant/1.JPEG', 0), ('ant/2.png', 0), ('zebra/1.jpg', 1)]
    assert source.metainfo['classes'] == ('ant', 'zebra')


def test_flat_folder_has_no_labels(tmp_path):
    make_files(tmp_path, 'b.jpg', 'a.jpg')
    source = ImageFolder(str(tmp_path))
    assert listed(source, tmp_path) == [('a.jpg', NO_LABEL), ('b.jpg', NO_LABEL)]
    assert 'classes' not in source.metainfo


def test_files_beside_folders_mean_that_folders_are_no_classes(tmp_path):
    make_files(tmp_path, 'ant/1.jpg', 'bee/1.jpg', 'stray.jpg')
    assert {label for _, label in listed(ImageFolder(str(tmp_path)), tmp_path)} == {NO_LABEL}


def test_first_level_of_nested_folders_is_the_class(tmp_path):
    make_files(tmp_path, 'ant/2019/may/1.mp4', 'ant/2020/1.webm', 'bee/1.mov')
    labels = [label for _, label in listed(VideoFolder(str(tmp_path)), tmp_path)]
    assert labels == [0, 0, 1]


def test_hidden_files_and_folders_are_skipped(tmp_path):
    make_files(tmp_path, 'ant/1.jpg', 'ant/._1.jpg', '.thumbs/1.jpg', 'ant/.cache/2.jpg')
    assert listed(ImageFolder(str(tmp_path)), tmp_path) == [('ant/1.jpg', 0)]


def test_folders_behind_links_are_followed(tmp_path):
    make_files(tmp_path / 'elsewhere', '1.jpg')
    (tmp_path / 'root').mkdir()
    (tmp_path / 'root/ant').symlink_to(tmp_path / 'elsewhere')
    assert listed(ImageFolder(str(tmp_path / 'root')), tmp_path / 'root') == [('ant/1.jpg', 0)]


def test_image_and_video_folders_select_files_by_extension(tmp_path):
    make_files(tmp_path, 'ant/1.jpg', 'ant/1.mp4', 'ant/notes.txt')
    assert listed(ImageFolder(str(tmp_path)), tmp_path) == [('ant/1.jpg', 0)]
    assert listed(VideoFolder(str(tmp_path)), tmp_path) == [('ant/1.mp4', 0)]


def test_neither_folder_nor_list_is_an_error():
    with pytest.raises(DataError, match='ImageFolder needs a `data_root` .* or an `ann_file`'):
        ImageFolder()


def test_root_that_is_not_a_folder_is_named(tmp_path):
    make_files(tmp_path, 'a.jpg')
    for name, reason in [('nowhere', 'does not exist'), ('a.jpg', 'is a file')]:
        with pytest.raises(DataError, match=f"a folder, got '.*/{name}', which {reason}"):
            ImageFolder(str(tmp_path / name))


def test_prefix_is_a_folder_within_the_root(tmp_path):
    make_files(tmp_path, 'train/b/1.png', 'train/a/1.png', 'val/a/2.png')
    source = ImageFolder(str(tmp_path), data_prefix='train')
    assert source.metainfo['classes'] == ('a', 'b')
    assert source.path_of(0) == str(tmp_path / 'train/a/1.png')
    in_list = make_list(tmp_path / 'list.txt', 'val/a/2.png 0')
    assert len(ImageFolder(str(tmp_path), in_list, data_prefix='train')) == 1
    with pytest.raises(
        DataError, match="/test', which does not exist. It ends in the `data_prefix`"
    ):
        ImageFolder(str(tmp_path), data_prefix='test')


def test_error_of_an_empty_folder_lists_the_extensions(tmp_path):
    with pytest.raises(DataError, match=r'No videos under .* looked for \.mp4 .*folder is empty'):
        VideoFolder(str(tmp_path))


def test_error_of_a_folder_with_other_files_names_one(tmp_path):
    make_files(tmp_path, 'ant/1.mp4', 'ant/2.mp4')
    with pytest.raises(DataError, match=r"No images .* holds 2 other files, such as '1\.mp4'"):
        ImageFolder(str(tmp_path))


def test_list_gives_paths_below_the_root_with_and_without_labels(tmp_path):
    make_files(tmp_path, 'x/1.jpg', 'x/2.jpg', 'x/3.jpg')
    ann_file = make_list(tmp_path / 'list.txt', 'x/2.jpg 5', '', '  x/1.jpg  0 ', 'x/3.jpg')
    source = ImageFolder(str(tmp_path), ann_file)
    assert listed(source, tmp_path) == [('x/2.jpg', 5), ('x/1.jpg', 0), ('x/3.jpg', NO_LABEL)]


def test_list_takes_paths_with_spaces(tmp_path):
    make_files(tmp_path, 'my clips/day 1.mp4', 'my clips/day 2.mp4')
    ann_file = make_list(tmp_path / 'list.txt', 'my clips/day 1.mp4 3', 'my clips/day 2.mp4')
    source = VideoFolder(str(tmp_path), ann_file)
    assert listed(source, tmp_path) == [('my clips/day 1.mp4', 3), ('my clips/day 2.mp4', NO_LABEL)]


def test_list_may_come_from_another_system(tmp_path):
    make_files(tmp_path, 'x/1.jpg', 'y/2 b.JPG')
    (tmp_path / 'list.txt').write_bytes(b'\xef\xbb\xbfx/1.jpg\t4\r\n\r\ny/2 b.JPG\t \t5\r\n')
    source = ImageFolder(str(tmp_path), 'list.txt')
    assert listed(source, tmp_path) == [('x/1.jpg', 4), ('y/2 b.JPG', 5)]


def test_list_is_relative_to_the_root_or_has_absolute_paths(tmp_path):
    make_files(tmp_path, '1.jpg')
    make_list(tmp_path / 'list.txt', '1.jpg 2')
    assert listed(ImageFolder(str(tmp_path), 'list.txt'), tmp_path) == [('1.jpg', 2)]
    source = ImageFolder(ann_file=make_list(tmp_path / 'absolute.txt', f'{tmp_path}/1.jpg 2'))
    assert listed(source, tmp_path) == [('1.jpg', 2)]


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        (
            '2.jpg cat',
            "the label of line 3 is the name 'cat' and the label of line 1 is the number 0. Write names",
        ),
        ('2.jpg -1', r"line 3: the label must be a whole number from 0 on or .*, got '-1'"),
        ('2.jpg 1.5', r"line 3: the label must be a whole number from 0 on or .*, got '1.5'"),
        (
            '2.gif2 1',
            r"line 3: expected `path label` with a path that ends in .*\.jpg.*got '2.gif2 1'",
        ),
        ('2.mp4 1', r'line 3: expected `path label`'),
        ('2', r"line 3: expected `path label`.*got '2'"),
    ],
)
def test_bad_line_is_named_with_its_number(tmp_path, line, message):
    make_files(tmp_path, '1.jpg')
    ann_file = make_list(tmp_path / 'list.txt', '1.jpg 0', '', line, '1.jpg 0')
    with pytest.raises(DataError, match=message):
        ImageFolder(str(tmp_path), ann_file)


def test_names_of_classes_are_numbered_in_their_order(tmp_path, log):
    make_files(tmp_path, *(f'{n}.jpg' for n in range(4)))
    lines = ['0.jpg truck', '1.jpg airplane', '2.jpg', '3.jpg truck']
    source = ImageFolder(str(tmp_path), make_list(tmp_path / 'list.txt', *lines))
    assert [label for _, label in listed(source, tmp_path)] == [1, 0, NO_LABEL, 1]
    assert source.labels().tolist() == [1, 0, NO_LABEL, 1]
    assert source.metainfo['classes'] == ('airplane', 'truck')
    assert source.get_data_info(0)['class_name'] == 'truck'
    (said,) = log
    assert (
        'The 2 classes are numbered from 0 on in the order of their names: airplane, truck.' in said
    )
    trucks = ImageFolder(str(tmp_path), 'list.txt', classes=['truck'])
    assert listed(trucks, tmp_path) == [('0.jpg', 0), ('3.jpg', 0)]


def test_csv_file_with_a_header_has_quotes_columns_and_names_with_spaces(tmp_path):
    make_files(tmp_path, 'a, b.mp4', 'c.mp4')
    header = '\ufeffLabel, path ,seconds'
    lines = [header, '"playing ""chess""", "a, b.mp4",3.5', 'juggling balls,c.mp4,']
    source = VideoFolder(str(tmp_path), make_list(tmp_path / 'list.csv', *lines))
    assert listed(source, tmp_path) == [('a, b.mp4', 1), ('c.mp4', 0)]
    assert source.metainfo['classes'] == ('juggling balls', 'playing "chess"')
    make_list(tmp_path / 'numbers.csv', 'path,label', 'c.mp4,7', '"a, b.mp4",')
    source = VideoFolder(str(tmp_path), 'numbers.csv')
    assert listed(source, tmp_path) == [('c.mp4', 7), ('a, b.mp4', NO_LABEL)]


def test_csv_file_of_paths_alone_has_no_labels(tmp_path):
    make_files(tmp_path, 'a, b.mp4', 'c.mp4')
    ann_file = make_list(tmp_path / 'list.csv', 'path', '"a, b.mp4"', 'c.mp4')
    source = VideoFolder(str(tmp_path), ann_file)
    assert listed(source, tmp_path) == [('a, b.mp4', NO_LABEL), ('c.mp4', NO_LABEL)]


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        ('1.jpg', r"list.csv, line 3: expected 2 values \(path, label\), got 1 in '1.jpg'"),
        ('1.gif2,0', "line 3: the path must end in one of .*, got '1.gif2'"),
        ('"1.jpg,0', 'line 3: unexpected end of data'),
        ('1.jpg,-1', "line 3: the label must be a whole number from 0 on or the name .* got '-1'"),
        ('1.jpg,cat', "line 3 is the name 'cat' and the label of line 2 is the number 0"),
    ],
)
def test_bad_line_of_a_csv_file_is_named_with_its_number(tmp_path, line, message):
    make_files(tmp_path, '1.jpg')
    ann_file = make_list(tmp_path / 'list.csv', 'path,label', '1.jpg,0', line)
    with pytest.raises(DataError, match=message):
        ImageFolder(str(tmp_path), ann_file)


def test_commas_without_a_header_are_explained(tmp_path):
    with pytest.raises(DataError, match='is a CSV file with the header `path,label`'):
        ImageFolder(str(tmp_path), make_list(tmp_path / 'list.csv', '1.jpg,0'))


def test_listed_file_that_is_missing_is_a_bad_file(tmp_path):
    Image.new('RGB', (4, 4)).save(tmp_path / '1.jpg')
    ann_file = make_list(tmp_path / 'list.txt', '# path label', '1.jpg 0', '', 'lost.jpg 1')
    source = ImageFolder(str(tmp_path), ann_file, pipeline=[dict(type='LoadImage')])
    assert source[0]['frames'][0].shape == (4, 4, 3)
    with pytest.raises(DataError, match=r"Can't read the image '.*/lost\.jpg': "):
        source[1]


def test_missing_list_is_named(tmp_path):
    with pytest.raises(
        DataError,
        match=r"Can't read the list `ann_file` '.*no\.txt': No such.* `ann_file=''` reads",
    ):
        ImageFolder(str(tmp_path), str(tmp_path / 'no.txt'))


def test_empty_list_says_what_to_write(tmp_path):
    with pytest.raises(DataError, match='has no lines. Write one `path label` a line'):
        ImageFolder(str(tmp_path), make_list(tmp_path / 'list.txt', '', ' '))


def test_picture_in_place_of_a_list_is_refused(tmp_path):
    (tmp_path / 'list.txt').write_bytes(b'\xff\xd8\xff\xe0\x00')
    with pytest.raises(DataError, match='is not UTF-8 text'):
        ImageFolder(str(tmp_path), str(tmp_path / 'list.txt'))


def test_probe_refuses_files_without_labels_with_advice(tmp_path):
    make_files(tmp_path, '1.jpg', '2.jpg')
    with pytest.raises(DataError, match=r'2 of 2 .* such as .*1\.jpg.*val_dataloader=None'):
        ImageFolder(str(tmp_path), with_labels=True)


def test_probe_counts_the_lines_without_labels(tmp_path):
    make_files(tmp_path, '1.jpg', '2.jpg')
    ann_file = make_list(tmp_path / 'list.txt', '1.jpg 0', '2.jpg')
    with pytest.raises(DataError, match=r"1 of 2 in .* such as '.*2\.jpg'"):
        ImageFolder(str(tmp_path), ann_file, with_labels=True)


def test_max_per_class_keeps_samples_evenly_spread_over_each_class(tmp_path):
    make_files(tmp_path, *(f'ant/{i:02d}.jpg' for i in range(11)), 'bee/1.jpg')
    source = ImageFolder(str(tmp_path), max_per_class=3)
    assert listed(source, tmp_path) == [
        ('ant/00.jpg', 0),
        ('ant/05.jpg', 0),
        ('ant/10.jpg', 0),
        ('bee/1.jpg', 1),
    ]


def test_sample_carries_tags_kind_label_and_path(demo_data):
    root = demo_data / 'images/train'
    source = ImageFolder(str(root), tags=dict(probe='images', role='bank'))
    sample = source[SampleKey(0, 0, 0)]
    assert (sample['probe'], sample['role'], sample['kind']) == ('images', 'bank', 'image')
    assert sample['gt_label'] == 0
    assert Path(sample['path']) == sorted(root.rglob('*.jpg'))[0]


def test_same_key_gives_the_same_bytes_and_another_epoch_others(demo_data):
    source = ImageFolder(str(demo_data / 'images/train'), pipeline=VIEWS)

    def views(key):
        return torch.stack(source[key]['inputs'])

    first = views(SampleKey(0, 0, 3))
    assert torch.equal(views(SampleKey(0, 0, 3)), first)
    assert not torch.equal(views(SampleKey(0, 1, 3)), first)
    assert not torch.equal(views(SampleKey(1, 0, 3)), first)


def test_plain_index_from_other_samplers_works(demo_data):
    source = ImageFolder(str(demo_data / 'images/train'), pipeline=VIEWS)
    assert [tuple(view.shape) for view in source[3]['inputs']] == [(3, 16, 16), (3, 16, 16)]
