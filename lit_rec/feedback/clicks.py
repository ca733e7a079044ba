"""How simulated users act on a list of recommendations."""

from collections.abc import Collection, Sequence

import numpy as np

from lit_rec.feedback.settings import SimulateSettings
from lit_rec.store.events import EventType

Action = tuple[str, int, EventType]
"""A product, its position from 1, and what was done with it."""


def act(
    products: Sequence[str], relevant: Collection[str], settings: SimulateSettings, rng: np.random.Generator
) -> list[Action]:
    """Impressions of all products, and for each perhaps a click, then the cart, then the purchase.

    With ``position_based`` this is the position-based click model: a click is a product that was examined, which
    depends on the position alone, and found attractive, which depends on the product alone.

    Args:
        products: ids, best first.
        relevant: ids that the user really bought.
        settings: the chances.
        rng: where chance comes from; the same number of draws for every product.

    Source: Richardson et al., Predicting clicks (WWW 2007); Craswell et al., An experimental comparison of click
    position-bias models (WSDM 2008).
    """
    steps = (EventType.CLICK, EventType.ADD_TO_CART, EventType.PURCHASE)
    actions: list[Action] = []
    for position, product in enumerate(products, 1):
        actions.append((product, position, EventType.IMPRESSION))
        chances = step_chances(position, product in relevant, settings)
        for step, chance, draw in zip(steps, chances, rng.random(len(steps)), strict=True):
            if draw >= chance:
                break
            actions.append((product, position, step))
    return actions


def step_chances(position: int, is_relevant: bool, settings: SimulateSettings) -> tuple[float, float, float]:
    """Chances of a click, of the cart after it, and of the purchase after that.

    Args:
        position: of the product, from 1.
        is_relevant: whether the user really bought it.
        settings: the chances asked for.
    """
    click, cart, purchase = settings.click_rate, settings.atc_rate, settings.purchase_rate
    if settings.click_model == "random":
        return click, cart, purchase
    examined = float(position**-settings.position_decay)
    if is_relevant:
        return examined * settings.relevant_click_rate, cart, purchase
    return examined * click, settings.irrelevant_factor * cart, settings.irrelevant_factor * purchase
