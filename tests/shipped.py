"""The toolkit's own tasks, without those that a study or another test has registered in this process."""

from mgpp.lab.tasks import TASKS

SHIPPED_TASKS = {name: task for name, task in TASKS.items() if task.__module__.startswith("mgpp.")}
