"""A board whose true costs are known."""

import random
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from litepose_ofa.latency_tables.coverage import space_operators
from litepose_ofa.latency_tables.profiling.fitting import boundary_elements
from litepose_ofa.latency_tables.profiling.manifest import Manifest, ModelFiles
from litepose_ofa.latency_tables.profiling.measurements import ChainTiming, Measurements, Timing
from litepose_ofa.latency_tables.profiling.plan import chains_of
from litepose_ofa.latency_tables.profiling.subjects import OperatorChain
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.operators import Operator, operators_of
from litepose_ofa.supernet.archs.space import SearchSpace

FACTS = {
    "processor": "a simulated core",
    "runtime": "a simulated runtime",
    "runtime_version": "1.0",
    "threads": 1,
    "precision": "fp32",
    "clocks": "fixed",
    "started": "2026-01-31T12:00:00Z",
}


def timing(ms: float, sigma: float, rng: np.random.Generator) -> Timing:
    """Return a timing with a relative error of sigma, which it states."""
    noisy = ms * float(1 + sigma * rng.standard_normal())
    return Timing(ms=noisy, spread_ms=sigma * ms, runs=50, round_ms=(noisy,), round_p10_ms=(noisy,), throttled=0)


class SimulatedBoard:
    """What a kit would bring back from a board of known costs."""

    call_ms, ms_per_minput, ms_per_moutput, null_ms = 0.03, 0.2, 0.4, 0.01
    constant_ms, scale = 0.25, 1.1
    facts = FACTS

    def sample_archs(self, space: SearchSpace, count: int, seed: int) -> list[Arch]:
        """Draw distinct random architectures."""
        rng = random.Random(seed)
        return list(dict.fromkeys(space.sample(rng) for _ in range(count)))

    def true_ms(self, operator: Operator) -> float:
        """Return what an operator takes inside a network: work with a bend, and traffic."""
        inputs, outputs = boundary_elements(operator)
        return 0.005 + 0.03 * (operator.macs / 1e6) ** 0.95 + 0.05 * (inputs + outputs) / 1e6

    def lone_ms(self, operator: Operator) -> float:
        """Return what an operator takes alone."""
        inputs, outputs = boundary_elements(operator)
        boundary = self.call_ms + self.ms_per_minput * inputs / 1e6 + self.ms_per_moutput * outputs / 1e6
        return self.true_ms(operator) + boundary

    def network_ms(self, arch: Arch) -> float:
        """Return what a whole network takes."""
        return self.constant_ms + self.scale * sum(map(self.true_ms, operators_of(arch)))

    def measure(
        self,
        space: SearchSpace,
        archs: Sequence[Arch] = (),
        *,
        noise: float = 0.0,
        network_noise: float = 0.0,
        chosen: Callable[[Operator], bool] = lambda operator: True,
        seed: int = 7,
    ) -> Measurements:
        """Return the measurements of a kit.

        Args:
            space: The space whose operators it times.
            archs: The whole networks it times.
            noise: Relative error (one sigma) of every operator's timing.
            network_noise: The same of networks'.
            chosen: Which operators it times.
            seed: Of the noise.
        """
        rng = np.random.default_rng(seed)
        operators = sorted(filter(chosen, space_operators(space)), key=str)
        singles = {operator: timing(self.lone_ms(operator), noise, rng) for operator in operators}
        chains = {}
        for operator in operators:
            for chain in chains_of(operator)[1:]:
                ms = self.lone_ms(operator) + (chain.copies - 1) * self.true_ms(operator)
                chains[operator] = ChainTiming(singles[operator], timing(ms, noise, rng), chain.copies)
        manifest = Manifest(
            runtime="onnxruntime",
            backend="backend_onnxruntime",
            spaces=(space.name,),
            num_keypoints=(14,),
            operators=len(space_operators(space)),
            probe=OperatorChain(operators[0]).id,
            models=tuple(ModelFiles(OperatorChain(operator), ()) for operator in operators),
        )
        networks = {arch: timing(self.network_ms(arch), network_noise, rng) for arch in archs}
        return Measurements(
            manifest=manifest,
            facts=FACTS,
            singles=singles,
            chains=chains,
            networks=networks,
            null=timing(self.null_ms, 0.0, rng),
            probe=(),
        )


@pytest.fixture
def board() -> SimulatedBoard:
    return SimulatedBoard()
