"""The tasks, one file each. To add one: write its file and its line here."""

from aign.tasks.base import TaskKind
from aign.tasks.digits import DIGITS
from aign.tasks.inpaint import INPAINT
from aign.tasks.pose import POSE
from aign.tasks.superres import SUPERRES
from aign.tasks.vae import VAE_TASK

TASKS: dict[str, TaskKind] = {task.name: task for task in (POSE, SUPERRES, INPAINT, VAE_TASK, DIGITS)}
