//! The kernel's own functions that stand at the border of two activities, by their public names.
//!
//! Source: names in Microsoft's public symbols of nt; which of them marks what: `docs/stacks.md`.

use super::CodeInfo;
pub use crate::facts::is_kernel;

/// The name of the function at `address` when it is the kernel's or the HAL's.
pub fn kernel_function(code: &dyn CodeInfo, address: u64) -> Option<String> {
    let module = code.module_at(address)?;
    let file = code.module_name(module)?;
    is_kernel(&file)
        .then(|| code.name_at(address).map(|name| name.symbol.into_owned()))
        .flatten()
}

/// Functions that run deferred procedure calls: outward of them is what the calls interrupted.
pub fn dispatches_dpcs(name: &str) -> bool {
    const NAMES: [&str; 8] = [
        "KiRetireDpcList",
        "KxRetireDpcList",
        "KyRetireDpcList",
        "KiDispatchInterrupt",
        "KiDispatchInterruptContinue",
        "KiDpcInterrupt",
        "KiDpcInterruptBypass",
        "KiExecuteDpc",
    ];
    NAMES.contains(&name)
}

/// Handlers of interrupts: what they stopped is another activity.
pub fn handles_interrupts(name: &str) -> bool {
    const STARTS: [&str; 9] = [
        "KiInterrupt",
        "KiDpcInterrupt",
        "KiApcInterrupt",
        "KiIpiInterrupt",
        "KiChainedDispatch",
        "KiUnexpectedInterrupt",
        "KiNmiInterrupt",
        "KiHvInterrupt",
        "HalpApc",
    ];
    STARTS.iter().any(|start| name.starts_with(start))
}

/// Handlers of exceptions: the code they stopped caused them.
pub fn handles_exceptions(name: &str) -> bool {
    let kernel = name.starts_with("Ki") || name.starts_with("Kx");
    kernel
        && (name.contains("Fault")
            || name.ends_with("Trap")
            || name.contains("Exception")
            || name.contains("Abort")
            || name.contains("InvalidOpcode")
            || name.contains("FloatingError")
            || name.starts_with("KiRaise")
            || name.starts_with("KiTrap"))
}

/// Entries of system services: kernel code calls them like functions.
pub fn enters_services(name: &str) -> bool {
    name.starts_with("KiSystem") || name.starts_with("KiService") || name == "KiFastCallEntry"
}

/// Functions that go on with the same activity on another stack; on x64 they describe the switch
/// as a machine frame.
pub fn switches_stacks(name: &str) -> bool {
    name.contains("SwitchKernelStack") || name.contains("ExpandKernelStack")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handler_is_of_one_kind() {
        for (name, interrupt, exception, service, switch) in [
            ("KiInterruptDispatchNoLock", true, false, false, false),
            ("KiDpcInterrupt", true, false, false, false),
            ("KiPageFault", false, true, false, false),
            ("KiGeneralProtectionFault", false, true, false, false),
            ("KiTrap0E", false, true, false, false),
            ("KiBreakpointTrap", false, true, false, false),
            ("KiSystemServiceCopyEnd", false, false, true, false),
            ("KiServiceInternal", false, false, true, false),
            ("KiSwitchKernelStackAndCallout", false, false, false, true),
            ("MmAccessFault", false, false, false, false),
        ] {
            let kinds = (
                handles_interrupts(name),
                handles_exceptions(name),
                enters_services(name),
                switches_stacks(name),
            );
            assert_eq!(kinds, (interrupt, exception, service, switch), "{name}");
        }
    }
}
