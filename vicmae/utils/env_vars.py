# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Environment variables that vicmae reads."""

TRACEBACK = 'VICMAE_TRACEBACK'  # '1': errors that a user can fix end with their traceback, too
TRUST_CHECKPOINT = 'VICMAE_TRUST_CHECKPOINT'  # '1': a checkpoint may run the code that it holds
PREEMPTED = 'VICMAE_PREEMPTED'  # a file that is there once the run was asked to end
