"""Lab against OpenCV."""

import cv2
import numpy as np
import pytest
import torch

from mmentropy.functional.colour import rgb_to_lab


def test_lab_equals_that_of_opencv():
    """Random colours, dark ones, where the cube root is replaced by its tangent, and corners."""
    rng = np.random.default_rng(0)
    corners = np.stack(np.meshgrid(*[[0.0, 1.0]] * 3), -1).reshape(1, 8, 3)
    for rgb in (rng.random((8, 8, 3)), rng.random((8, 8, 3)) / 20, corners):
        expected = cv2.cvtColor(rgb.astype(np.float32), cv2.COLOR_RGB2Lab)
        found = rgb_to_lab(torch.from_numpy(rgb).permute(2, 0, 1)[None])[0].permute(1, 2, 0)
        # OpenCV reads the curves from coarse tables.
        np.testing.assert_allclose(found.numpy(), expected, atol=0.3)


def test_primary_colours():
    """As printed in tables; the extremes of a and b are those of the range of CMC."""
    rgb = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1], [1, 1, 0]])
    lab = rgb_to_lab(rgb.T.reshape(1, 3, 1, 5))[0, :, 0].T
    red, green, blue, magenta, yellow = lab
    torch.testing.assert_close(red, torch.tensor([53.24, 80.09, 67.20]), atol=0.02, rtol=0)
    torch.testing.assert_close(green, torch.tensor([87.73, -86.183, 83.18]), atol=0.02, rtol=0)
    torch.testing.assert_close(blue, torch.tensor([32.30, 79.19, -107.857]), atol=0.02, rtol=0)
    assert abs(float(magenta[1]) - 98.233) < 0.05 and abs(float(yellow[2]) - 94.478) < 0.05


def test_gray_has_no_colour():
    gray = torch.linspace(0, 1, 16, dtype=torch.float64).view(1, 1, 4, 4).expand(1, 3, 4, 4)
    lab = rgb_to_lab(gray)
    assert float(lab[:, 1:].abs().max()) < 1e-9
    assert float(lab[0, 0, 0, 0]) == 0 and abs(float(lab[0, 0, 3, 3]) - 100) < 1e-9
    assert (lab[0, 0].flatten().diff() > 0).all()


def test_gradient_is_finite_everywhere():
    rgb = torch.tensor([0.0, 0.002, 0.04045, 0.5, 1.0]).view(1, 1, 1, 5).repeat(1, 3, 1, 1)
    rgb.requires_grad_()
    rgb_to_lab(rgb).sum().backward()
    assert torch.isfinite(rgb.grad).all()


def test_what_is_no_image_is_refused():
    with pytest.raises(TypeError, match='rgb must be float32 or float64'):
        rgb_to_lab(torch.rand(1, 3, 2, 2, dtype=torch.float16))
    with pytest.raises(ValueError, match=r'\(N, 3, H, W\), got \(3, 2\)'):
        rgb_to_lab(torch.rand(3, 2))
