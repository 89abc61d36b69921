"""An object whose pickle makes a folder when it is read without care."""

import os


class Harmful:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)
