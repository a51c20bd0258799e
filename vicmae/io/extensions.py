# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""File extensions by which images and videos are found. Reading them depends on their content only."""

# With HEIC, so that photos of a phone are reported and not silently skipped.
IMAGE_EXTENSIONS = (
    *('.jpg', '.jpeg', '.jpe', '.jfif', '.png', '.apng', '.webp', '.avif', '.heic', '.heif'),
    *('.bmp', '.dib', '.tif', '.tiff', '.gif', '.ppm', '.pgm', '.pbm', '.pnm'),
    *('.jp2', '.j2k', '.tga', '.mpo', '.psd', '.qoi', '.pcx', '.sgi'),
)
VIDEO_EXTENSIONS = (
    *('.mp4', '.webm', '.mkv', '.avi', '.mov', '.m4v', '.mpg', '.mpeg', '.ts', '.flv', '.wmv'),
    *('.3gp', '.3g2', '.asf', '.f4v', '.m2ts', '.mts', '.ogv', '.vob'),
)
