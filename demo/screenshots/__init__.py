"""Pictures of the page in a real browser, for the documentation and for whoever changes how it looks.

It may import the stand-in Feishu and ``launch``, and is imported by the tests of the page, which share its browser and
its front end. Start with ``__main__``, which plays the batch and takes the pictures; ``browser`` drives Chromium.
"""
