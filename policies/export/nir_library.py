"""The packages of NIR, which are optional: a missing one is an error that says what to install."""

try:
    import h5py as h5py
    import nir as nir
except ModuleNotFoundError as error:
    raise ImportError(f"NIR needs {error.name}, which is not installed: pip install 'snn4-agent[nir]'") from error
