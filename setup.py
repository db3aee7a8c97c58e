"""Builds the C kernel; everything else is declared in pyproject.toml."""

from setuptools import setup

setup(cffi_modules=["dedupe/kernel/build.py:ffibuilder"])
