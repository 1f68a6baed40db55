"""Why a cost is not certain, or not known."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Doubt(StrEnum):
    """A reason why the cost of a call is uncertain; of several, the first counts."""

    NO_MODEL = "no_model"
    SELF_HOSTED = "self_hosted"
    NO_PRICE = "no_price"
    NO_USAGE = "no_usage"
    INCOMPLETE_USAGE = "incomplete_usage"
    PART_WITHOUT_PRICE = "part_without_price"
    LOGGED_ZERO = "logged_zero"
    CONTRADICTED = "contradicted"
    MODEL_GUESSED = "model_guessed"
    DISCOUNT_GUESSED = "discount_guessed"
    NO_TIME = "no_time"


REASONS: Final[dict[Doubt, str]] = {
    Doubt.NO_MODEL: "the log does not name the model",
    Doubt.SELF_HOSTED: "self-hosted by its name: no list price",
    Doubt.NO_PRICE: "no price is known for the model",
    Doubt.NO_USAGE: "the log has no token counts",
    Doubt.INCOMPLETE_USAGE: "a total without its parts, or one of them",
    Doubt.PART_WITHOUT_PRICE: "a part (searches, audio, ...) has no price",
    Doubt.LOGGED_ZERO: "logged as $0 with tokens; recalculated",
    Doubt.CONTRADICTED: "logged and recalculated cost disagree",
    Doubt.MODEL_GUESSED: "priced as a model of a similar name",
    Doubt.DISCOUNT_GUESSED: "usual discount assumed for the service tier",
    Doubt.NO_TIME: "the log has no time; priced as of now",
}
