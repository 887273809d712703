"""Many dubs with the networks loaded once, safe against being killed, in any number of processes and on clusters."""
