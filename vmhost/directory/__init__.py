"""The branch's directory server: a Samba domain controller in a virtual machine of the box."""
