"""APIs besides chat that some vendors speak themselves: the caller's body passes through, its usage is read. One file per API."""
