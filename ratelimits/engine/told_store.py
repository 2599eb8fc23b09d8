"""The store as the engine asks it: it is told what it has lost or missed before it decides.

Policies whose keys are in several shards are asked side by side. If one of them refuses, what the others counted is taken
back.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence

from redis.exceptions import ConnectionError as StoreConnectionError
from redis.exceptions import RedisError, ResponseError

from ratelimits.engine.admissions import NOTHING, Admissions, Owed
from ratelimits.engine.breaker import Breaker
from ratelimits.engine.questions import Answer, AnyStore, PolicyAndKey, Question, Return, SlotMoves, Standing
from ratelimits.policies.policy_snapshot import ENFORCE

log = logging.getLogger(__name__)

MOST_GENERATIONS = 3
CLIENTS_TOLD_AT_ONCE = 100
Parts = Mapping[str, Sequence[PolicyAndKey]]


class ToldStore:
    """``generations``: of each shard at its last answer."""

    def __init__(self, admissions: Admissions, breaker: Breaker) -> None:
        self._admissions = admissions
        self._breaker = breaker
        self._telling = threading.Lock()
        self.generations: dict[str, int] = {}

    def ask(self, store: AnyStore, counted: Sequence[PolicyAndKey], cost: int) -> Sequence[Standing]:
        """Ask the store, which first learns what it does not know about these clients' admissions."""
        parts = _by_shard(store, counted)
        if len(parts) == 1:
            [(shard, part)] = parts.items()
            if not self._owes(shard, part) and (usual := self._ask_one(store, shard, part, cost)):
                return usual
        answers: dict[str, Answer] = {}
        try:
            self._ask(store, parts, cost, answers)
        except RedisError:
            _take_back(store, parts, answers, cost)
            raise
        if len(parts) == 1:
            [answer] = answers.values()
            return answer.standings
        return _together(store, parts, counted, cost, answers)

    def _ask_one(
        self, store: AnyStore, shard: str, part: Sequence[PolicyAndKey], cost: int
    ) -> Sequence[Standing]:
        """Ask about one shard, as nearly always; return nothing if the store must be told something first."""
        [answer] = store.ask([Question(shard, part, cost, self.generations.get(shard, 0))])
        if isinstance(answer, RedisError):
            raise answer
        self.generations[shard] = answer.generation
        return answer.standings

    def _ask(self, store: AnyStore, parts: Parts, cost: int, answers: dict[str, Answer]) -> None:
        """Ask until each part has its answer, and note those that counted also when another one failed."""
        if not any(self._owes(shard, part) for shard, part in parts.items()):
            self._round(store, parts, cost, answers, {})
            if len(answers) == len(parts):
                return
        # One thread at a time, because otherwise each would tell the same.
        with self._telling:
            for _ in range(MOST_GENERATIONS):
                if self._breaker.error:
                    break
                missing = {shard: part for shard, part in parts.items() if shard not in answers}
                self._round(store, missing, cost, answers, self._owed(missing))
                if len(answers) == len(parts):
                    return
        raise StoreConnectionError(self._breaker.error or "It loses its data at every request.")

    def _round(
        self,
        store: AnyStore,
        parts: Parts,
        cost: int,
        answers: dict[str, Answer],
        owed: Mapping[str, Sequence[Owed]],
    ) -> None:
        questions = [
            Question(shard, part, cost, self.generations.get(shard, 0), owed.get(shard, ()))
            for shard, part in parts.items()
        ]
        failure: RedisError | None = None
        for question, answer in zip(questions, store.ask(questions), strict=True):
            if isinstance(answer, RedisError):
                failure = answer
                continue
            self.generations[question.shard] = answer.generation
            if answer.standings:
                answers[question.shard] = answer
                if question.owed:
                    self._admissions.note_told([key for _, key in question.counted], answer.generation)
        if failure is not None:
            raise failure

    def _owes(self, shard: str, part: Sequence[PolicyAndKey]) -> bool:
        generation = self.generations.get(shard, 0)
        return any(self._admissions.owed(key, generation) is not NOTHING for _, key in part)

    def _owed(self, parts: Parts) -> dict[str, list[Owed]]:
        """Return what the store does not know, for each client of each shard."""
        return {
            shard: [self._admissions.owed(key, self.generations.get(shard, 0)) for _, key in part]
            for shard, part in parts.items()
        }

    def tell_all(self, store: AnyStore, is_about_keys: Callable[[ResponseError], bool]) -> None:
        """Tell the store everything that it does not know.

        ``is_about_keys`` tells whether the store refuses only these clients; those are given up.
        """
        if not len(self._admissions):
            return
        shard_of = {key: store.shard(key) for key in self._admissions.clients()}
        for near in store.neighbours(list(dict.fromkeys(shard_of.values()))):
            # They lose their data together, so one of them speaks for all.
            if self._has_changed(store, near[:1]):
                self._has_changed(store, near[1:])
        owing = self._admissions.owing(
            lambda key: self.generations.get(shard_of.get(key) or store.shard(key), 0)
        )
        for start in range(0, len(owing), CLIENTS_TOLD_AT_ONCE):
            self._tell(store, owing[start : start + CLIENTS_TOLD_AT_ONCE], is_about_keys)

    def _has_changed(self, store: AnyStore, shards: Sequence[str]) -> bool:
        """Read the generations of shards. Return whether one is another than before."""
        before = {shard: self.generations.get(shard, 0) for shard in shards}
        questions = [Question(shard, (), 0, generation) for shard, generation in before.items()]
        for question, answer in zip(questions, store.ask(questions), strict=True):
            if isinstance(answer, RedisError):
                raise answer
            self.generations[question.shard] = answer.generation
        return any(self.generations[shard] != generation for shard, generation in before.items())

    def _tell(
        self, store: AnyStore, clients: Sequence[PolicyAndKey], is_about_keys: Callable[[ResponseError], bool]
    ) -> None:
        try:
            self.ask(store, clients, 0)
        except SlotMoves:
            # Those whose slots stay were told. The others are told when they have arrived.
            return
        except ResponseError as error:
            if not is_about_keys(error):
                return
            if len(clients) == 1:
                key = clients[0][1]
                self._admissions.note_told([key], self.generations.get(store.shard(key), 0))
                return
            middle = len(clients) // 2
            self._tell(store, clients[:middle], is_about_keys)
            self._tell(store, clients[middle:], is_about_keys)


def _by_shard(store: AnyStore, counted: Sequence[PolicyAndKey]) -> Parts:
    if len(counted) == 1:
        return {store.shard(counted[0][1]): counted}
    parts: dict[str, list[PolicyAndKey]] = {}
    for each in counted:
        parts.setdefault(store.shard(each[1]), []).append(each)
    return parts


def _together(
    store: AnyStore, parts: Parts, counted: Sequence[PolicyAndKey], cost: int, answers: Mapping[str, Answer]
) -> Sequence[Standing]:
    """Return how the client stands under all policies; what some shards counted of a request that others refuse is taken back."""
    refusing = {shard for shard, answer in answers.items() if _refuses(parts[shard], answer)}
    returned = {shard: answers[shard] for shard in parts if refusing and shard not in refusing}
    _take_back(store, parts, returned, cost)
    standings = {
        key: standing._replace(used=standing.used - cost) if standing.fits and shard in returned else standing
        for shard, part in parts.items()
        for (_, key), standing in zip(part, answers[shard].standings, strict=True)
    }
    return [standings[key] for _, key in counted]


def _refuses(part: Sequence[PolicyAndKey], answer: Answer) -> bool:
    together = zip(part, answer.standings, strict=True)
    return any(policy.mode == ENFORCE and not standing.fits for (policy, _), standing in together)


def _take_back(store: AnyStore, parts: Parts, answers: Mapping[str, Answer], cost: int) -> None:
    """Take back what these shards counted. If that fails, it stays counted, which errs on the strict side."""
    returns = [
        Return(
            shard,
            [each for each, standing in zip(parts[shard], answer.standings, strict=True) if standing.fits],
            cost,
            answer.at,
            answer.generation,
        )
        for shard, answer in answers.items()
        if cost and not _refuses(parts[shard], answer)
    ]
    if not returns:
        return
    try:
        store.take_back(returns)
    except RedisError as error:
        log.info("What was counted for a refused request stays counted: %s", error)
