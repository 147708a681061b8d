"""The offline gallery: index.html and what it loads."""

__all__ = (
    "build",
    "image_size",
    "probe",
    "report",
    "scripts",
    "shelves",
    "thumbnails",
)
