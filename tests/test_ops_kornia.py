"The float operators against kornia's, where kornia's is the same operator. Needs the extra `bench`."
import pytest
import torch

from paper_repro.ops.geometry import inverse_affine, sampling_grid
from paper_repro.ops.image import apply_op
from paper_repro.ops.operators import as_float
from paper_repro.ops.smooth import warp

kornia = pytest.importorskip('kornia')
E = kornia.enhance
g = torch.Generator().manual_seed(0)
EIGHT = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8, generator=g)
EIGHT[::2] = torch.nn.functional.avg_pool2d(EIGHT[::2].float(), 5, 1, 2).byte()
X = as_float(EIGHT)
FACTOR = torch.tensor([.1, .7, 1., 1.4, 1.9])


@pytest.mark.parametrize('name, theirs', [
    ('Brightness', E.adjust_brightness_accumulative), ('Color', E.adjust_saturation_with_gray_subtraction),
    ('Contrast', E.adjust_contrast_with_mean_subtraction), ('Sharpness', E.sharpness)])
def test_blends(name, theirs):
    torch.testing.assert_close(apply_op(X, name, FACTOR), theirs(X, FACTOR), atol=2e-6, rtol=0)


def test_solarize_posterize_and_equalize():
    t = torch.tensor([0., 60., 128., 200., 255.])
    torch.testing.assert_close(apply_op(X, 'Solarize', t), E.solarize(X, t/255), atol=1e-6, rtol=0)
    for bits in range(3, 9):
        torch.testing.assert_close(apply_op(X, 'Posterize', bits), E.posterize(X, bits), atol=1e-6, rtol=0)
    off = (apply_op(X, 'Equalize') - E.equalize(X)).abs() * 255
    assert (off > .5).float().mean() < .02                      # kornia's bins are 256/255 wide


def test_autocontrast_is_its_normalisation_by_channel():
    torch.testing.assert_close(apply_op(X, 'AutoContrast'), E.normalize_min_max(X), atol=1e-5, rtol=0)


def test_rotate_and_translate_have_its_signs():
    a, t = torch.tensor([-30., -7., 0., 12.5, 45.]), torch.tensor([-4., -1.5, 0., 2.25, 6.])
    torch.testing.assert_close(apply_op(X, 'Rotate', a), kornia.geometry.rotate(X, a), atol=2e-4, rtol=0)
    shift = torch.stack([t, 0*t], 1)
    torch.testing.assert_close(apply_op(X, 'TranslateX', t), kornia.geometry.translate(X, shift), atol=2e-4, rtol=0)
    down = kornia.geometry.translate(X, shift.flip(1))
    torch.testing.assert_close(apply_op(X, 'TranslateY', t), down, atol=2e-4, rtol=0)


def test_shear_has_the_other_sign_and_half_a_pixel_between_the_origins():
    v = torch.tensor([-.3, -.1, 0., .2, .3])
    theta = inverse_affine('ShearX', v, 32, 32)
    theta[:, 0, 2] -= v/2                                        # about the centre of the first pixel
    theirs = kornia.geometry.shear(X, torch.stack([-v, 0*v], 1), align_corners=True)
    torch.testing.assert_close(warp(X, *sampling_grid(theta, 32, 32)), theirs, atol=2e-4, rtol=0)
