"""The reference service as a project of one's own: the template, its versions, and projects made of it.

The template is assembled from the service's own source and its tests, so that it cannot differ from them; what a
project has beyond those is in `template/`. In the source, a line that ends in `# new: jobs`, and lines between
`# new: if jobs` and `# new: end if`, are in a project that chose jobs.
"""
