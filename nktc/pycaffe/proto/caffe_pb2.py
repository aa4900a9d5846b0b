"""The messages of nktc.schema under the names that Caffe's have."""

from nktc.schema import *  # noqa: F403
