# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Environment variables that vicmae reads."""

# '1': errors that a user can fix are printed with a traceback.
TRACEBACK = 'VICMAE_TRACEBACK'
# '1': loading a checkpoint may run the code in it.
TRUST_CHECKPOINT = 'VICMAE_TRUST_CHECKPOINT'
# Path of a file that exists once the run is preempted.
PREEMPTED = 'VICMAE_PREEMPTED'
