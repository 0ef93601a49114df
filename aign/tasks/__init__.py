"""The tasks, one file each. To add one: write its file and its line here."""

from aign.tasks.base import Task
from aign.tasks.digits import DigitsTask
from aign.tasks.inpaint import InpaintTask
from aign.tasks.pose import PoseTask
from aign.tasks.superres import SuperresTask
from aign.tasks.vae import VAETask

TASKS: dict[str, type[Task]] = {
    "pose": PoseTask,
    "superres": SuperresTask,
    "inpaint": InpaintTask,
    "vae": VAETask,
    "digits": DigitsTask,
}
