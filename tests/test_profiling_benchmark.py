"""How well profiles repeat and predict: the arithmetic, and (slow) the figures on this CPU."""

import numpy as np
import pytest

from benchmarks.profiling import compared, held_out_places
from cost_model.profiler.journal import Visit
from cost_model.profiler.subjects import Place, Span, Subject

LAYER = Subject(
    layer_kind="decoder", engine="torch", kernel="bf16", format="w16a16", tp=1, phase="decode"
)
SPANS = {LAYER: Span(batch=(1, 16), tokens=(32, 512))}


class Drifting:
    """A layer of 1 ms and a bit per request and token, on a machine that slows down for good."""

    def __init__(self, drift):
        self.drift, self.now = drift, 0

    def visit(self, _subject, place):
        self.now += 1
        seconds = 1e-3 + 1e-5 * place.batch + 2e-8 * place.batch * place.tokens
        return Visit(seconds=seconds * (1 + self.drift * self.now), runs=3)


def test_places_kept_out_lie_inside_and_off_the_corners():
    places = held_out_places(SPANS[LAYER])
    assert len(places) >= 4
    assert all(1 <= place.batch <= 16 and 32 <= place.tokens <= 512 for place in places)
    assert Place(1, 32) not in places


def test_tables_of_a_steady_machine_are_equal_and_predict_to_the_tolerance(tmp_path):
    (found,) = compared(Drifting(0.0), SPANS, tmp_path, 1.0)
    assert max(found.tables) == 0
    assert 0 < max(found.predictions) < 0.02


def test_what_drifts_meets_both_tables_alike(tmp_path):
    """0.1 % slower with every visit: by a factor over the whole, by little between neighbours."""
    bench = Drifting(1e-3)
    (found,) = compared(bench, SPANS, tmp_path, 1.0)
    assert bench.now * bench.drift > 0.5
    assert np.median(found.tables) < 0.005


@pytest.mark.slow
def test_tables_agree_and_predict_on_this_cpu(tmp_path):
    """Two tables, and places that were not profiled: 5 % in median, 15 % at the 90th percentile."""
    pytest.importorskip("torch", reason="PyTorch is missing: pip install 'hetplan[torch]'")
    from benchmarks.profiling import bench_of
    from profiles.models import find_model

    bench, spans, device = bench_of(find_model("qwen3-0.6b"))
    with device:
        found = compared(bench, spans, tmp_path, device.share, time_limit_s=300)
    for field in ("tables", "predictions"):
        values = [value for each in found for value in getattr(each, field)]
        assert np.median(values) <= 0.05
        assert np.percentile(values, 90) <= 0.15
