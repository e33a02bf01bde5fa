"""All cards in the order in which the page shows them."""

from __future__ import annotations

from studio.theory.card import Card
from studio.theory.cards import (
    attention,
    clt,
    convergence,
    entropy_gradient,
    exploration,
    gradient,
    group_size,
    invariance,
    kl,
    length,
    off_policy,
    race,
    stability,
)

CARDS: dict[str, Card] = {
    each.CARD.key: each.CARD
    for each in (
        gradient,
        group_size,
        clt,
        stability,
        convergence,
        entropy_gradient,
        exploration,
        kl,
        length,
        off_policy,
        attention,
        invariance,
        race,
    )
}
