"""DiffAugment: what each policy does to known images, and that gradients pass."""

import pytest
import torch

from models.augmentation import NUM_DRAWS, POLICIES, augment


def _draws(batch: int, seed: int = 0, **fixed: float) -> torch.Tensor:
    """(B, 7) in [0, 1), with the columns of the given names set to one value."""
    names = ("brightness", "saturation", "contrast", "down", "right", "top", "left")
    assert len(names) == NUM_DRAWS
    draws = torch.rand(
        batch, NUM_DRAWS, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    for name, value in fixed.items():
        draws[:, names.index(name)] = value
    return draws


def _images(batch: int, channels: int = 3, size: int = 16) -> torch.Tensor:
    shape = (batch, channels, size, size)
    return (
        2 * torch.rand(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64) - 1
    )


NEUTRAL = {"brightness": 0.5, "saturation": 0.5, "contrast": 0.5}  # shift 0, factors 1


class TestColor:
    def test_neutral_draws_change_nothing(self):
        x = _images(4)
        torch.testing.assert_close(augment(x, _draws(4, **NEUTRAL), ("color",)), x)

    def test_brightness_shifts_all_pixels(self):
        x, draws = _images(4), _draws(4, **{**NEUTRAL, "brightness": 0.0})
        draws[:, 0] = torch.tensor([0.0, 0.3, 0.5, 0.999])
        expected = x + (draws[:, 0] - 0.5)[:, None, None, None]
        torch.testing.assert_close(augment(x, draws, ("color",)), expected)

    def test_contrast_keeps_the_mean(self):
        x, draws = _images(3), _draws(3, **NEUTRAL)
        draws[:, 2] = torch.tensor([0.0, 0.4, 0.9])  # factors 0.5, 0.9, 1.4
        out = augment(x, draws, ("color",))
        mean = x.mean(dim=(1, 2, 3), keepdim=True)
        torch.testing.assert_close(out.mean(dim=(1, 2, 3), keepdim=True), mean)
        factor = torch.tensor([0.5, 0.9, 1.4], dtype=torch.float64)[:, None, None, None]
        torch.testing.assert_close(out - mean, factor * (x - mean))

    def test_saturation_scales_the_distance_from_grey(self):
        x, draws = _images(3), _draws(3, **NEUTRAL)
        draws[:, 1] = torch.tensor([0.0, 0.25, 0.75])  # factors 0, 0.5, 1.5
        out = augment(x, draws, ("color",))
        grey = x.mean(dim=1, keepdim=True)
        factor = torch.tensor([0.0, 0.5, 1.5], dtype=torch.float64)[:, None, None, None]
        torch.testing.assert_close(out - grey, factor * (x - grey))
        torch.testing.assert_close(out[0], grey[0].expand(3, -1, -1))

    @pytest.mark.parametrize("channels", [1, 3])
    def test_saturation_leaves_grey_images(self, channels):
        x = _images(2, channels=1).expand(-1, channels, -1, -1)
        draws = _draws(2, **{**NEUTRAL, "saturation": 0.9})
        torch.testing.assert_close(augment(x, draws, ("color",)), x)


class TestTranslation:
    @pytest.mark.parametrize(
        ("down", "right", "shift"),
        [
            (0.0, 0.0, (-2, -2)),
            (0.5, 0.5, (0, 0)),
            (0.999, 0.5, (2, 0)),
            (0.41, 0.79, (0, 1)),  # fifths of [0, 1) are -2, -1, 0, 1, 2
        ],
    )
    def test_moves_a_pixel_and_fills_with_grey(self, down, right, shift):
        """16 pixels move by two at most."""
        x = _images(1)
        out = augment(x, _draws(1, down=down, right=right), ("translation",))
        expected = torch.zeros_like(x)
        for i in range(16):
            for j in range(16):
                if 0 <= i + shift[0] < 16 and 0 <= j + shift[1] < 16:
                    expected[:, :, i + shift[0], j + shift[1]] = x[:, :, i, j]
        assert torch.equal(out, expected)

    @pytest.mark.parametrize("size", [8, 16, 32, 128])
    def test_shifts_are_uniform_up_to_an_eighth(self, size):
        num = 4000
        x = torch.zeros(num, 1, size, size)
        x[:, :, size // 2, size // 2] = 1
        out = augment(x, _draws(num).float(), ("translation",))
        assert torch.equal(out.sum(dim=(1, 2, 3)), torch.ones(num))
        position = out.flatten(1).argmax(1)
        reach = size // 8
        for shifts in (position // size - size // 2, position % size - size // 2):
            counts = torch.bincount(shifts + reach, minlength=2 * reach + 1)
            assert len(counts) == 2 * reach + 1  # none beyond, none below: bincount would raise
            expected = num / (2 * reach + 1)
            assert (counts - expected).abs().max() < 5 * expected**0.5


class TestCutout:
    def test_cuts_half_the_side_and_keeps_the_rest(self):
        x = _images(1) + 3  # nowhere 0
        out = augment(x, _draws(1, top=0.5, left=0.5), ("cutout",))
        cut = (out == 0).all(dim=1)[0]
        assert cut.sum() == 8 * 8
        rows, columns = cut.any(1).nonzero().flatten(), cut.any(0).nonzero().flatten()
        assert rows.tolist() == columns.tolist() == list(range(4, 12))
        assert torch.equal(out[:, :, ~cut], x[:, :, ~cut])

    def test_reaches_over_the_border(self):
        """The centre may lie anywhere, so in a corner a quarter of the square is left."""
        x = torch.ones(1, 1, 16, 16)
        corner = augment(x, _draws(1, top=0.0, left=0.0).float(), ("cutout",))
        assert (corner == 0).sum() == 4 * 4
        assert (corner[0, 0, :4, :4] == 0).all()
        other = augment(x, _draws(1, top=0.999, left=0.999).float(), ("cutout",))
        assert (other[0, 0, 12:, 12:] == 0).all()

    def test_area_is_that_of_a_uniform_centre(self):
        """Of centres 0 ... R a square of R / 2 keeps 7 / 16 R on average along each side."""
        num, size = 4000, 16
        out = augment(torch.ones(num, 1, size, size), _draws(num).float(), ("cutout",))
        area = (out == 0).float().mean().item()
        lengths = [min(c + 4, size) - max(c - 4, 0) for c in range(size + 1)]
        expected = (sum(lengths) / len(lengths) / size) ** 2
        assert area == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("policies", [(p,) for p in POLICIES] + [POLICIES])
def test_gradients(policies):
    x = _images(2, size=6).requires_grad_()
    draws = _draws(2)
    assert torch.autograd.gradcheck(lambda x: augment(x, draws, policies), (x,))


def test_each_image_depends_on_its_own_draws_alone():
    x, draws = _images(3), _draws(3)
    out = augment(x, draws, POLICIES)
    assert torch.equal(out, augment(x, draws, POLICIES))
    for i in range(3):
        alone = augment(x[i : i + 1], draws[i : i + 1], POLICIES)
        torch.testing.assert_close(alone, out[i : i + 1])


def test_policies_apply_in_a_fixed_order():
    x, draws = _images(2), _draws(2)
    step = x
    for policy in ("color", "translation", "cutout"):
        step = augment(step, draws, (policy,))
    assert torch.equal(augment(x, draws, ("cutout", "translation", "color")), step)
    assert augment(x, draws, ()) is x


def test_float32_stays():
    assert augment(_images(2).float(), _draws(2).float(), POLICIES).dtype == torch.float32


def test_unknown_policy_lists_the_known():
    with pytest.raises(ValueError, match=r"unknown.*'flip'.*color.*translation.*cutout"):
        augment(_images(1), _draws(1), ("color", "flip"))
