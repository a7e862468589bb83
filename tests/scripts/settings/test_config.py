from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from litepose_ofa.scripts.settings.config import literal_config

PARTS = st.sampled_from(["a", " ", "$", "{", "}", "\\", "${", "${oc.env:HOME}", "${x}", "\\${x}"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.lists(PARTS).map("".join).filter(lambda text: text != "???"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)


@given(values=st.dictionaries(st.sampled_from("xyz"), VALUES))
@settings(deadline=None, derandomize=True, max_examples=200)
def test_every_value_is_read_as_it_was_given(values: dict[str, object]) -> None:
    assert OmegaConf.to_container(literal_config(values), resolve=True) == values
