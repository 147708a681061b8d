"""What several test files share: accounts, checks of archives, processes, terminals, small disks."""
