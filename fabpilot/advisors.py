"""Makes the advisor that steers a judged run of a synthetic fab, as the settings have it."""

from collections.abc import Sequence

from contracts.errors import ModelError
from contracts.events import Event, WaferMap
from control.policy import load_policy
from fabpilot.fab_policies import AdvisorPolicy
from fabpilot.output import err
from fabpilot.settings import Settings
from fabpilot.wiring import open_repository
from serving.scorer import Scorer

__all__ = ["Advisors"]


class Advisors:
    """Makes the advisor of each site, with the champion model where one is registered.

    Args:
        settings: name the policy and the model.

    Raises:
        ConfigError: the policy is wrong.
    """

    def __init__(self, settings: Settings) -> None:
        self._policy = load_policy(settings.policy)
        self._scorer: Scorer | None = None
        try:
            repository = open_repository(settings)
            repository.current()
            self._scorer = Scorer(repository)
        except ModelError as error:
            err.print(f"no model serves, so the advisor has the traces alone ({error})")

    def __call__(self, site: str) -> AdvisorPolicy:
        """The advisor of one site."""
        return AdvisorPolicy(self._policy, site, self._score if self._scorer else None)

    def _score(self, maps: Sequence[WaferMap]) -> list[Event]:
        assert self._scorer is not None
        return [
            event
            for answer in self._scorer(maps)
            if not isinstance(answer, Exception)
            for event in answer
        ]
