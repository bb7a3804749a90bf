"""Encoders: pictures to tokens."""

from slots.encoders.base import Encoder, EncoderConfig, TokenHead, TokenHeadConfig
from slots.encoders.cnn import CNN, CNNConfig
from slots.encoders.resnet import ResNet, ResNetConfig
from slots.encoders.windows import Windows, WindowsConfig

EncoderConfig.kinds.update(cnn=CNNConfig, resnet=ResNetConfig, windows=WindowsConfig)

__all__ = [
    "CNN",
    "CNNConfig",
    "Encoder",
    "EncoderConfig",
    "ResNet",
    "ResNetConfig",
    "TokenHead",
    "TokenHeadConfig",
    "Windows",
    "WindowsConfig",
]
