"""What several processes do when one of them computes wrongly."""

import torch

from tests.distributed.job import finish, newest_state, start, train


def test_all_stop_and_name_the_rank_whose_numbers_broke_down(digits_shards, tmp_path):
    changes = {"fault": {"kind": "nan", "rank": 1, "nimg": 80}}
    for code, output in finish(start(tmp_path, digits_shards, 2, changes)):
        assert code == 2, output
        assert "training broke down: loss/d" in output
        assert "on rank 1, the gradient of D." in output
        assert "not finite at nimg 80;" in output
        assert "Traceback" not in output
    state = newest_state(tmp_path)
    assert state["nimg"] == 64
    assert all(torch.isfinite(tensor).all() for tensor in state["D"].values())


def test_one_flipped_bit_on_one_rank_stops_the_run(digits_shards, tmp_path):
    changes = {"fault": {"kind": "bit", "rank": 1, "nimg": 80}, "precision": "fp32"}
    for code, output in finish(start(tmp_path, digits_shards, 2, changes)):
        assert code == 2, output
        assert "the weights of G and G_ema on rank 1 differ from rank 0's at nimg 96" in output
    assert newest_state(tmp_path)["nimg"] == 64
    whole = train(tmp_path / "whole", digits_shards, 2, {"precision": "fp32"})
    assert train(tmp_path, digits_shards, 2, {"precision": "fp32"})["nimg"] == whole["nimg"]
