import pytest
import torch

from InfantBrainSegLib.networks.fcn import (
    BUNDLED_FCN1,
    PAPER_FCN1,
    PAPER_FCN2,
    InstanceNorm,
    MultiStreamFCN,
    NetworkConfig,
    count_parameters,
)

TINY = NetworkConfig((1, 1), base_width=2)


@pytest.mark.parametrize(("config", "millions"), [(PAPER_FCN1, 48.9), (PAPER_FCN2, 70.8)])
def test_the_paper_preset_has_the_authors_number_of_parameters(config, millions):
    with torch.device("meta"):
        network = MultiStreamFCN(config)
    assert count_parameters(network) / 1e6 == pytest.approx(millions, abs=0.05)


def test_the_encoder_of_one_stream_has_the_shape_of_c3d_up_to_conv4b():
    with torch.device("meta"):
        encoder = MultiStreamFCN(PAPER_FCN1).encoders[0]
    shapes = [tuple(block.conv.weight.shape[:2]) for level in encoder.levels for block in level]
    assert shapes == [(64, 1), (128, 64), (256, 128), (256, 256), (512, 256), (512, 512)]


def test_training_mode_gives_three_scales_and_evaluation_mode_the_main_one():
    network = MultiStreamFCN(TINY)
    x = torch.randn(2, 2, 16, 16, 16)
    assert [tuple(y.shape) for y in network(x)] == [(2, 4, 16, 16, 16), (2, 4, 8, 8, 8), (2, 4, 4, 4, 4)]
    assert network.eval()(x).shape == (2, 4, 16, 16, 16)


def test_any_size_works():
    network = MultiStreamFCN(TINY).eval()
    assert network(torch.randn(1, 2, 13, 17, 9)).shape == (1, 4, 13, 17, 9)


def test_padding_inside_changes_nothing_where_the_input_is_already_zero():
    network = MultiStreamFCN(TINY).eval()
    x = torch.zeros(1, 2, 16, 16, 16)
    x[:, :, :13, :11, :9] = torch.randn(1, 2, 13, 11, 9)
    assert torch.allclose(network(x)[:, :, :13, :11, :9], network(x[:, :, :13, :11, :9]), atol=1e-6)


def test_every_stream_reaches_the_output():
    network = MultiStreamFCN(NetworkConfig((1, 1, 3), base_width=2)).eval()
    x = torch.randn(1, 5, 16, 16, 16, requires_grad=True)
    network(x).square().sum().backward()
    assert (x.grad.abs().sum((0, 2, 3, 4)) > 0).all()


def test_every_classifier_and_skip_is_trained():
    network = MultiStreamFCN(TINY)
    sum(y.square().mean() for y in network(torch.randn(2, 2, 16, 16, 16))).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_the_memory_layout_changes_neither_logits_nor_gradients():
    results = []
    for layout in (torch.contiguous_format, torch.channels_last_3d):
        torch.manual_seed(3)
        network = MultiStreamFCN(NetworkConfig((1, 1), base_width=4, norm="instance")).to(memory_format=layout)
        x = torch.randn(2, 2, 16, 16, 16).to(memory_format=layout)
        logits = network(x)
        sum(y.square().mean() for y in logits).backward()
        results.append((*logits, *(parameter.grad for parameter in network.parameters())))
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(*results, strict=True))
    assert results[0][0].std() > 0.1


def test_a_patch_standardised_inside_is_blind_to_gain_and_offset():
    network = MultiStreamFCN(NetworkConfig((1, 1), base_width=2, patch_norm=True)).eval()
    x = torch.randn(1, 2, 16, 16, 16)
    assert torch.allclose(network(x), network(3 * x + 1), atol=1e-4)


def test_instance_normalisation_is_pytorchs_and_keeps_the_memory_layout():
    ours, theirs = InstanceNorm(3, affine=True), torch.nn.InstanceNorm3d(3, affine=True)
    torch.nn.init.uniform_(ours.weight)
    theirs.load_state_dict(ours.state_dict())
    x = (2 * torch.randn(2, 3, 4, 5, 6) + 1).to(memory_format=torch.channels_last_3d)
    for mode in (True, False):
        assert torch.allclose(ours.train(mode)(x), theirs.train(mode)(x), atol=1e-6)
    assert ours(x).is_contiguous(memory_format=torch.channels_last_3d)


def test_with_instance_normalisation_a_patch_is_blind_to_the_others_of_its_batch():
    network = MultiStreamFCN(NetworkConfig((1, 1), base_width=2, norm="instance")).eval()
    x = torch.randn(2, 2, 16, 16, 16)
    assert torch.allclose(network(x)[:1], network(x[:1]), atol=1e-5)


def test_bundled_skips_come_from_both_streams():
    network = MultiStreamFCN(BUNDLED_FCN1)
    assert [step.merge.conv.in_channels for step in network.decoder] == [64 + 2 * 64, 32 + 2 * 32, 16 + 2 * 16]


@pytest.mark.parametrize("wrong", [{"norm": "layer"}, {"skip_streams": "none"}, {"convs_per_level": (1, 1)}])
def test_a_wrong_config_is_refused(wrong):
    with pytest.raises(ValueError, match="wanted"):
        NetworkConfig(**wrong)
