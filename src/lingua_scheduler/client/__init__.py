"""The client library that `lingua translate`, the load tool and users share."""
