import io

import pytest
import torch

from InfantBrainSegLib.networks.saved import UnreadableError, read_saved


def test_what_torch_saved_comes_back(tmp_path):
    torch.save({"a": torch.ones(2), "b": 1}, tmp_path / "a.pt")
    assert read_saved(tmp_path / "a.pt")["b"] == 1


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "content", [b"", b"root:x:0:0:root:/root:/bin/bash\n", b"\x80\xe4)R.", b"cposix\nsystem\n(S'true'\ntR.", b"PK\x03\x04"]
)
def test_anything_else_is_refused_in_one_line_with_one_error(content):
    with pytest.raises(UnreadableError) as error:
        read_saved(io.BytesIO(content))
    assert "\n" not in str(error.value)
