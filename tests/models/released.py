"""The released networks written plainly, as a reference: public torch modules, nothing folded.

After brain-research/self-attention-gan (generator.py:179-254, discriminator.py:170-243,
non_local.py:48-81) at 128 pixels, and PyTorch-StudioGAN's channels (resnet.py:66-85, 261-284) at
64 and 32. Shares no code with `models`; only the names of the layers agree, so that weights can be
copied by name. Spectral normalisation is torch's own.
"""

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

# At width 64: channels of the generator from 4x4 upwards; of the discriminator, after each block.
G_CHANNELS = {
    32: [256, 256, 256, 256],
    64: [1024, 512, 256, 128, 64],
    128: [1024, 1024, 512, 256, 128, 64],
}
D_CHANNELS = {
    32: [128, 128, 128, 128],
    64: [64, 128, 256, 512, 1024],
    128: [64, 128, 256, 512, 1024, 1024],
}
D_POOLS = {32: 2, 64: 4, 128: 5}  # that many blocks pool, from the first on


class Generator(nn.Module):
    def __init__(self, size, num_classes, width=64, z_dim=128, attention=(), image_channels=3):
        super().__init__()
        channels = [c * width // 64 for c in G_CHANNELS[size]]
        self.linear = spectral_norm(nn.Linear(z_dim, 16 * channels[0]))
        self.blocks = nn.ModuleList()
        self.attention = nn.ModuleDict()
        for i in range(1, len(channels)):
            self.blocks.append(GeneratorBlock(channels[i - 1], channels[i], num_classes))
            if 4 * 2**i in attention:
                self.attention[str(4 * 2**i)] = Attention(channels[i])
        self.norm = nn.BatchNorm2d(channels[-1], eps=1e-5)
        self.to_image = spectral_norm(nn.Conv2d(channels[-1], image_channels, 3, padding=1))

    def forward(self, z, y):
        h = self.linear(z)
        h = h.view(len(z), -1, 4, 4)
        for block in self.blocks:
            h = block(h, y)
            if str(h.shape[-1]) in self.attention:
                h = self.attention[str(h.shape[-1])](h)
        return torch.tanh(self.to_image(F.relu(self.norm(h))))


class GeneratorBlock(nn.Module):
    def __init__(self, c_in, c_out, num_classes):
        super().__init__()
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.norm1 = ConditionalNorm(c_in, num_classes)
        self.conv1 = spectral_norm(nn.Conv2d(c_in, c_out, 3, padding=1))
        self.norm2 = ConditionalNorm(c_out, num_classes)
        self.conv2 = spectral_norm(nn.Conv2d(c_out, c_out, 3, padding=1))
        self.shortcut = spectral_norm(nn.Conv2d(c_in, c_out, 1))

    def forward(self, x, y):
        h = self.conv1(self.up(F.relu(self.norm1(x, y))))
        h = self.conv2(F.relu(self.norm2(h, y)))
        return h + self.shortcut(self.up(x))


class ConditionalNorm(nn.Module):
    """A scale and a shift for each class; scales start at 1."""

    def __init__(self, channels, num_classes):
        super().__init__()
        self.batch_norm = nn.BatchNorm2d(channels, eps=1e-5, affine=False)
        self.gain = nn.Embedding(num_classes, channels)
        self.bias = nn.Embedding(num_classes, channels)

    def forward(self, x, y):
        gain, bias = self.gain(y), self.bias(y)
        return self.batch_norm(x) * gain[:, :, None, None] + bias[:, :, None, None]


class Discriminator(nn.Module):
    def __init__(self, size, num_classes, width=64, attention=(), image_channels=3):
        super().__init__()
        channels = [image_channels, *(c * width // 64 for c in D_CHANNELS[size])]
        self.blocks = nn.ModuleList()
        self.attention = nn.ModuleDict()
        for i in range(1, len(channels)):
            pools = i <= D_POOLS[size]
            self.blocks.append(DiscriminatorBlock(channels[i - 1], channels[i], pools, i == 1))
            if pools and size // 2**i in attention:
                self.attention[str(size // 2**i)] = Attention(channels[i])
        self.linear = spectral_norm(nn.Linear(channels[-1], 1))
        self.embedding = spectral_norm(nn.Embedding(num_classes, channels[-1]))

    def forward(self, x, y):
        attended = set()
        for block in self.blocks:
            x = block(x)
            size = str(x.shape[-1])
            if size in self.attention and size not in attended:
                attended.add(size)
                x = self.attention[size](x)
        h = F.relu(x).sum(dim=(2, 3))
        return self.linear(h)[:, 0] + torch.einsum("bc,bc->b", h, self.embedding(y))


class DiscriminatorBlock(nn.Module):
    def __init__(self, c_in, c_out, pools, first):
        super().__init__()
        self.first = first
        self.pool = nn.AvgPool2d(2) if pools else nn.Identity()
        self.conv1 = spectral_norm(nn.Conv2d(c_in, c_out, 3, padding=1))
        self.conv2 = spectral_norm(nn.Conv2d(c_out, c_out, 3, padding=1))
        if pools or c_in != c_out:
            self.shortcut = spectral_norm(nn.Conv2d(c_in, c_out, 1))
        else:
            self.shortcut = nn.Identity()

    def forward(self, x):
        if self.first:
            h = self.pool(self.conv2(F.relu(self.conv1(x))))
            return h + self.shortcut(self.pool(x))
        h = self.conv1(F.relu(x))
        h = self.pool(self.conv2(F.relu(h)))
        return h + self.pool(self.shortcut(x))


class Attention(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.query = spectral_norm(nn.Conv2d(channels, max(channels // 8, 1), 1, bias=False))
        self.key = spectral_norm(nn.Conv2d(channels, max(channels // 8, 1), 1, bias=False))
        self.value = spectral_norm(nn.Conv2d(channels, max(channels // 2, 1), 1, bias=False))
        self.out = spectral_norm(nn.Conv2d(max(channels // 2, 1), channels, 1, bias=False))
        self.pool = nn.MaxPool2d(2)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        batch, _, height, width = x.shape
        theta = self.query(x).view(batch, -1, height * width)
        phi = self.pool(self.key(x)).view(batch, -1, height * width // 4)
        g = self.pool(self.value(x)).view(batch, -1, height * width // 4)
        beta = F.softmax(torch.einsum("bcq,bck->bqk", theta, phi), dim=-1)
        o = torch.einsum("bqk,bck->bcq", beta, g).reshape(batch, -1, height, width)
        return x + self.gamma * self.out(o)
